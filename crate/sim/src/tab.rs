//! A simulated tab: numbers its requests, keeps each until answered, and remembers what it was told.

use std::collections::BTreeMap;

use offprint_protocol::rpc::{Reply, Request, Select, TabEvent};
use offprint_protocol::{MutationSeq, RequestNo, TabId};

/// A tab.
#[derive(Debug, Clone)]
pub struct Tab {
    /// Its id.
    pub id: TabId,
    next: u64,
    unanswered: BTreeMap<RequestNo, Asked>,
    /// The newest rows of each subscription.
    pub rows: BTreeMap<u32, Vec<u8>>,
}

#[derive(Debug, Clone)]
struct Asked {
    request: Request,
    token: Option<String>,
}

/// What a tab learned about the mutation of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// It is visible.
    Applied(MutationSeq),
    /// It is flushed.
    Durable,
    /// It is in the primary's journal.
    Confirmed,
    /// The primary refused it.
    Rejected,
    /// It failed here.
    Failed,
}

impl Tab {
    /// A tab that has asked nothing yet.
    pub fn new(id: TabId) -> Self {
        Self { id, next: 1, unanswered: BTreeMap::new(), rows: BTreeMap::new() }
    }

    /// Numbers a request and keeps it.
    pub fn ask(&mut self, request: Request, token: Option<String>) -> (RequestNo, Request) {
        let no = RequestNo(self.next);
        self.next += 1;
        self.unanswered.insert(no, Asked { request: request.clone(), token });
        (no, request)
    }

    /// Subscribes to a query.
    pub fn subscribe(&mut self, subscription: u32, select: Select) -> (RequestNo, Request) {
        self.ask(Request::Subscribe { subscription, select }, None)
    }

    /// What a fresh hub has to be asked again: everything unanswered.
    pub fn again(&self) -> Vec<(RequestNo, Request)> {
        self.unanswered.iter().map(|(no, asked)| (*no, asked.request.clone())).collect()
    }

    /// The rejections that the event says are dealt with, and whether that is durable.
    pub fn dealt(&self, event: &TabEvent) -> Vec<(MutationSeq, bool)> {
        let (requests, is_durable) = match event {
            TabEvent::Reply { no, .. } => (std::slice::from_ref(no), false),
            TabEvent::Durable { requests } => (&requests[..], true),
            _ => return vec![],
        };
        let asked = requests.iter().filter_map(|no| self.unanswered.get(no));
        let dealt = asked.filter_map(|asked| match asked.request {
            Request::Dismiss { seq } | Request::Retry { seq } => Some((seq, is_durable)),
            _ => None,
        });
        dealt.collect()
    }

    /// The tokens of the mutations whose last answer is missing.
    pub fn waits_for(&self) -> Vec<&str> {
        self.unanswered.values().filter_map(|asked| asked.token.as_deref()).collect()
    }

    /// Whether every request has its last answer.
    pub fn is_idle(&self) -> bool {
        self.unanswered.is_empty()
    }

    /// Takes an event and gives the news it brings, by token.
    pub fn hear(&mut self, event: TabEvent) -> Vec<(String, News)> {
        match event {
            TabEvent::Reply { no, reply: Reply::Applied { seq } } => {
                self.news(&[no], News::Applied(seq), false)
            }
            TabEvent::Reply { no, .. } => self.news(&[no], News::Durable, true),
            TabEvent::Failed { no, .. } => self.news(&[no], News::Failed, true),
            TabEvent::Durable { requests } => self.news(&requests, News::Durable, false),
            TabEvent::Confirmed { requests } => self.news(&requests, News::Confirmed, true),
            TabEvent::Rejected { no, .. } => self.news(&[no], News::Rejected, true),
            TabEvent::Rows { subscription, rows } => {
                self.rows.insert(subscription, rows.0);
                vec![]
            }
            TabEvent::SubscriptionFailed { subscription, .. } => {
                self.rows.remove(&subscription);
                vec![]
            }
            TabEvent::Status(_) => vec![],
        }
    }

    fn news(&mut self, requests: &[RequestNo], news: News, last: bool) -> Vec<(String, News)> {
        let mut heard = Vec::new();
        for no in requests {
            let token = match last {
                true => self.unanswered.remove(no).and_then(|asked| asked.token),
                false => self.unanswered.get(no).and_then(|asked| asked.token.clone()),
            };
            heard.extend(token.map(|token| (token, news.clone())));
        }
        heard
    }
}
