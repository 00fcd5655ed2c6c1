//! A replica's side of the conversation with its server: connect, greet, catch up, push, notice silence, back off.

mod changes;
mod silence;

use offprint_protocol::message::{
    CatchUp, ClientMessage, Hello, PROTOCOL_VERSION, ServerMessage, SnapshotOffer, Welcome,
};
use offprint_protocol::rpc::{Connection, Problem};
use offprint_protocol::{Code, Decode, Encode, Error, JournalId, Mark, MutationSeq, Rollup};

use crate::entropy::Entropy;
use crate::host::ReplicaEffect;
use crate::timeline::Timeline;

pub(crate) use self::changes::Changes;

use self::silence::Silence;

/// How many bytes of mutations may be unanswered: half as many after a session that ended before an answer, and twice
/// after each answer, so that a backlog gets through connections that carry little.
const WINDOW: usize = 256 << 10;
/// The first and the longest wait between attempts, in milliseconds.
const BACK_OFF: (u64, u64) = (250, 30_000);

/// Something whole that the server delivered.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// It has greeted: up to where it has decided this client's mutations, and what is to be fetched.
    Welcome { marks: Vec<Mark>, snapshot: Option<(JournalId, SnapshotOffer)> },
    /// It wants the history that is here.
    OfferWanted,
    /// What happened to the document.
    Changes(Changes),
}

#[derive(Debug)]
enum State {
    /// No server was named, or the document is not ready.
    Off,
    /// There is no room for what the server has to say.
    Paused,
    /// Waiting until this time before the next attempt.
    Waiting { until: u64 },
    /// The socket is being opened.
    Opening,
    /// Hello is sent.
    Greeting,
    /// Welcome came; what it announced has not been applied yet. Mutations are pushed meanwhile, if they may be.
    CatchingUp { catch_up: CatchUp, sent: Option<MutationSeq> },
    /// In step.
    Online { sent: MutationSeq },
}

/// What a session does after one in which a push was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// Nothing was refused.
    None,
    /// It pushes nothing before the catch-up is applied: a refusal would cut that off again.
    CatchUp,
    /// It only reads: who it is may not write.
    Session,
}

/// The conversation.
#[derive(Debug)]
pub(crate) struct Sync {
    state: State,
    attempts: u32,
    problem: Option<Problem>,
    /// The parts of a rollup that have come so far.
    parts: Vec<Rollup>,
    /// The history that the server is in.
    journal: JournalId,
    /// What is here cannot be built upon: ask for everything.
    distrust: bool,
    window: usize,
    hold: Hold,
    /// What was decided when something was pushed last.
    answered: MutationSeq,
    silence: Silence,
    jitter: Entropy,
}

impl Sync {
    pub(crate) fn new(entropy: &[u8; 32]) -> Self {
        Self {
            state: State::Off,
            attempts: 0,
            problem: None,
            parts: Vec::new(),
            journal: JournalId([0; 16]),
            distrust: false,
            window: WINDOW,
            hold: Hold::None,
            answered: MutationSeq(0),
            silence: Silence::default(),
            jitter: Entropy::new(entropy, "offprint sync jitter"),
        }
    }

    /// The state as the app sees it.
    pub(crate) fn connection(&self) -> (Connection, Option<Problem>) {
        let connection = match self.state {
            State::Off => Connection::None,
            State::Waiting { .. } | State::Paused => Connection::Offline,
            State::Opening if self.attempts > 0 => Connection::Offline,
            State::Opening | State::Greeting | State::CatchingUp { .. } => Connection::Connecting,
            State::Online { .. } => Connection::Online,
        };
        (connection, self.problem.clone())
    }

    /// Whether what is here must not be named in the next Hello.
    pub(crate) fn distrusts(&self) -> bool {
        self.distrust
    }

    /// Connects now, unless that is under way.
    pub(crate) fn connect(&mut self, effects: &mut Vec<ReplicaEffect>) {
        if matches!(self.state, State::Off | State::Waiting { .. }) {
            self.state = State::Opening;
            effects.push(ReplicaEffect::Connect);
        }
    }

    /// Connects now if it was waiting, and again if it may only read; asks for a sign of life if it believes to be connected.
    pub(crate) fn nudge(&mut self, now: u64, effects: &mut Vec<ReplicaEffect>) {
        if self.hold == Hold::Session && !matches!(self.state, State::Online { .. }) {
            // Whoever asks may have another token.
            self.hold = Hold::CatchUp;
        }
        match self.state {
            State::Waiting { .. } => self.connect(effects),
            State::Online { .. } if self.hold == Hold::Session => {
                self.suspend(effects);
                self.connect(effects);
            }
            State::Online { .. } => {
                let is_unanswered = self.is_unanswered();
                effects.extend(self.silence.doubt(now, is_unanswered).map(ReplicaEffect::Send));
            }
            _ => {}
        }
    }

    /// The socket is open: greets.
    pub(crate) fn opened(&mut self, now: u64, hello: Hello, effects: &mut Vec<ReplicaEffect>) {
        if !matches!(self.state, State::Opening) {
            return;
        }
        self.state = State::Greeting;
        self.parts.clear();
        self.silence.heard(now);
        effects.push(ReplicaEffect::Send(ClientMessage::Hello(hello).to_bytes()));
    }

    /// A frame came: gives what it completes. An error has already ended the session.
    pub(crate) fn frame(
        &mut self,
        now: u64,
        frame: &[u8],
        effects: &mut Vec<ReplicaEffect>,
    ) -> Vec<Delivery> {
        self.silence.heard(now);
        let result = ServerMessage::from_bytes(frame).and_then(|message| self.message(now, message, effects));
        result.unwrap_or_else(|error| {
            self.give_up(now, error.into(), effects);
            Vec::new()
        })
    }

    fn message(
        &mut self,
        now: u64,
        message: ServerMessage,
        effects: &mut Vec<ReplicaEffect>,
    ) -> Result<Vec<Delivery>, Error> {
        match (&self.state, message) {
            // Frames of a session that was given up may still arrive.
            (State::Off | State::Paused | State::Waiting { .. } | State::Opening, _) => Ok(Vec::new()),
            (_, ServerMessage::Refused { code, message }) => {
                let is_about = |other: Code| code == other.as_str();
                let hold = match self.is_unanswered() {
                    true if is_about(Code::Forbidden) => Hold::Session,
                    // Its token has ended, whatever was pushed.
                    true if !is_about(Code::Unauthorized) => Hold::CatchUp,
                    _ => Hold::None,
                };
                self.give_up(now, Problem { code, message }, effects);
                self.hold = hold;
                Ok(Vec::new())
            }
            (_, ServerMessage::Pong(_)) => Ok(Vec::new()),
            (State::Greeting, ServerMessage::Welcome(welcome)) => {
                if welcome.version != PROTOCOL_VERSION {
                    return Err(Error::new(
                        Code::UnsupportedVersion,
                        "the server chose another version than offered",
                    ));
                }
                let Welcome { journal, marks, catch_up, .. } = welcome;
                self.journal = journal;
                self.state = State::CatchingUp { catch_up, sent: None };
                let wanted = (catch_up == CatchUp::Offer).then_some(Delivery::OfferWanted);
                let snapshot = match catch_up {
                    CatchUp::Snapshot(offer) => Some((journal, offer)),
                    _ => None,
                };
                Ok([Delivery::Welcome { marks, snapshot }].into_iter().chain(wanted).collect())
            }
            // What follows the catch-up may come before the catch-up was applied, so both may come from here on.
            (State::CatchingUp { .. } | State::Online { .. }, ServerMessage::Commits(batch))
                if self.parts.is_empty() && !self.is_fetching() =>
            {
                Ok(vec![Delivery::Changes(Changes::Commits(batch))])
            }
            (State::CatchingUp { .. } | State::Online { .. }, ServerMessage::Rollup(part))
                if !self.is_fetching() =>
            {
                if part.from.0 == 0 && !self.may_reset() {
                    return Err(Error::new(
                        Code::BadState,
                        "the server replaces what is here without having said so",
                    ));
                }
                let last = part.last;
                self.parts.push(part);
                let journal = self.journal;
                let whole = last.then(|| Changes::Rollup { journal, parts: std::mem::take(&mut self.parts) });
                Ok(whole.map(Delivery::Changes).into_iter().collect())
            }
            _ => Err(Error::new(Code::BadState, "the server sent a message that is not allowed now")),
        }
    }

    fn may_reset(&self) -> bool {
        matches!(self.state, State::CatchingUp { catch_up: CatchUp::Reset, .. })
    }

    /// What the server delivered is applied: if it was the catch-up, which is told, pushing may begin.
    pub(crate) fn applied(&mut self, confirmed: MutationSeq) -> bool {
        let State::CatchingUp { sent, .. } = self.state else { return false };
        self.state = State::Online { sent: sent.unwrap_or(confirmed) };
        if self.hold != Hold::Session {
            self.hold = Hold::None;
            self.problem = None;
        }
        self.distrust = false;
        true
    }

    fn is_fetching(&self) -> bool {
        matches!(self.state, State::CatchingUp { catch_up: CatchUp::Snapshot(_), .. })
    }

    /// What is pending after `decided` may be pushed before the catch-up is applied: there may be no room for that.
    pub(crate) fn may_push(&mut self, decided: MutationSeq) {
        if let State::CatchingUp { sent, .. } = &mut self.state
            && self.hold == Hold::None
        {
            *sent = Some(decided);
        }
    }

    /// Says whether the snapshot is here, if the server waits for that.
    pub(crate) fn fetched(&mut self, has_it: bool, effects: &mut Vec<ReplicaEffect>) {
        if let State::CatchingUp { catch_up: catch_up @ CatchUp::Snapshot(_), .. } = &mut self.state {
            *catch_up = if has_it { CatchUp::Rollup } else { CatchUp::Reset };
            effects.push(ReplicaEffect::Send(ClientMessage::Fetched(has_it).to_bytes()));
        }
    }

    /// Ends the session until [`Sync::connect`].
    pub(crate) fn suspend(&mut self, effects: &mut Vec<ReplicaEffect>) {
        effects.push(ReplicaEffect::Disconnect);
        self.state = State::Off;
        self.hold = Hold::None;
    }

    /// Sends the history that is here.
    pub(crate) fn offer(&self, parts: Vec<Rollup>, effects: &mut Vec<ReplicaEffect>) {
        let frame = |part| ReplicaEffect::Send(ClientMessage::Offer(part).to_bytes());
        effects.extend(parts.into_iter().map(frame));
    }

    /// Asks for everything the server has, in place of what is here.
    pub(crate) fn take_servers(&mut self, now: u64, effects: &mut Vec<ReplicaEffect>) {
        self.distrust = true;
        self.nudge(now, effects);
    }

    /// What the server delivered does not fit: start over, from nothing if it is the pages that do not.
    pub(crate) fn misfit(&mut self, now: u64, error: Error, effects: &mut Vec<ReplicaEffect>) {
        self.distrust |= error.code != Code::BadState;
        self.give_up(now, error.into(), effects);
    }

    /// Sends what may be sent.
    pub(crate) fn push(&mut self, timeline: &Timeline, effects: &mut Vec<ReplicaEffect>) {
        let (State::Online { sent } | State::CatchingUp { sent: Some(sent), .. }) = &mut self.state else {
            return;
        };
        if timeline.confirmed() > self.answered {
            self.answered = timeline.confirmed();
            self.window = (2 * self.window).min(WINDOW);
            self.attempts = 0;
        }
        *sent = (*sent).max(self.answered);
        if self.hold != Hold::Session {
            let mutations = timeline.sendable(*sent, self.window);
            if let Some(last) = mutations.last() {
                *sent = last.seq;
                effects.push(ReplicaEffect::Send(ClientMessage::Push(mutations).to_bytes()));
            }
        }
        // Until something of it is answered, what was pushed may be refused.
        if matches!(self.state, State::Online { .. }) && !self.is_unanswered() {
            self.attempts = 0;
        }
    }

    /// Whether something was pushed that is not decided yet.
    fn is_unanswered(&self) -> bool {
        let (State::Online { sent } | State::CatchingUp { sent: Some(sent), .. }) = self.state else {
            return false;
        };
        sent > self.answered
    }

    /// The socket is closed, or could not be opened.
    pub(crate) fn closed(&mut self, now: u64, problem: Option<Problem>) {
        if matches!(self.state, State::Off | State::Paused | State::Waiting { .. }) {
            return;
        }
        if problem.is_some() {
            self.problem = problem;
        }
        self.back_off(now);
    }

    /// Leaves the server until [`Sync::resume`].
    pub(crate) fn pause(&mut self, problem: Problem, effects: &mut Vec<ReplicaEffect>) {
        if matches!(self.state, State::Off | State::Paused) {
            return;
        }
        effects.push(ReplicaEffect::Disconnect);
        self.parts.clear();
        self.problem = Some(problem);
        self.state = State::Paused;
    }

    /// Comes back to the server, if it was left.
    pub(crate) fn resume(&mut self, effects: &mut Vec<ReplicaEffect>) {
        if matches!(self.state, State::Paused) {
            self.problem = None;
            self.state = State::Opening;
            effects.push(ReplicaEffect::Connect);
        }
    }

    /// Closes the socket and tries again later.
    fn give_up(&mut self, now: u64, problem: Problem, effects: &mut Vec<ReplicaEffect>) {
        effects.push(ReplicaEffect::Disconnect);
        self.problem = Some(problem);
        self.back_off(now);
    }

    fn back_off(&mut self, now: u64) {
        if self.is_unanswered() {
            self.window = (self.window / 2).max(1);
        }
        self.hold = Hold::None;
        let (first, longest) = BACK_OFF;
        let wait = first.saturating_mul(1 << self.attempts.min(16)).min(longest);
        self.attempts += 1;
        // Between half and all of it, so that clients of a restarted server do not come back at once.
        let wait = wait / 2 + wait * (self.jitter.number() % 256) / 512;
        self.state = State::Waiting { until: now.saturating_add(wait) };
    }

    /// The clock was set back by so much.
    pub(crate) fn turn_back(&mut self, back: u64) {
        self.silence.turn_back(back);
        if let State::Waiting { until } = &mut self.state {
            *until = until.saturating_sub(back);
        }
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: u64, effects: &mut Vec<ReplicaEffect>) {
        match self.state {
            State::Waiting { until } if until <= now => self.connect(effects),
            State::Online { .. } | State::Greeting | State::CatchingUp { .. } => {
                if self.silence.has_lasted(now) {
                    let silent = Error::new(Code::Unreachable, "the server has been silent for too long");
                    self.give_up(now, silent.into(), effects);
                } else {
                    effects.extend(self.silence.ask(now).map(ReplicaEffect::Send));
                }
            }
            _ => {}
        }
    }

    /// When [`Sync::tick`] has something to do next.
    pub(crate) fn due(&self) -> Option<u64> {
        match self.state {
            State::Off | State::Paused | State::Opening => None,
            State::Waiting { until } => Some(until),
            _ => Some(self.silence.due()),
        }
    }
}
