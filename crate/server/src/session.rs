//! A session: one websocket, from its first frame to its last.

use std::pin::pin;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use offprint_protocol::message::{ClientMessage, ServerMessage};
use offprint_protocol::{Code, Encode, Error};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_tungstenite::tungstenite;

use crate::allowance::Allowance;
use crate::app::{App, now};
use crate::auth::{self, Access, Pass};
use crate::connections::Stranger;
use crate::handshake::{LONGEST_HELLO, check_served, read_hello};
use crate::outbox::{End, Next, Outbox};
use crate::pace::Pace;
use crate::rooms::{Place, Rooms};

/// How long a client may take to hear why its session ends, and to close its side.
const GOODBYE: Duration = Duration::from_secs(2);

/// How many bytes may go with a hello on its way: what frames it, and pings.
const FRAMING: u64 = 4 << 10;

/// What a client did.
enum Said {
    Frame(Bytes),
    /// Something that ends the session, with the reason.
    Wrong(Error),
    Gone,
}

/// Holds the conversation until either side ends it.
pub(crate) async fn run(socket: WebSocket, app: &App, stranger: Stranger) {
    let rooms = &app.rooms;
    let (sink, mut stream) = socket.split();
    let outbox = Outbox::new(rooms.limits().outbox);
    {
        let mut listening = pin!(listen(&mut stream, app, stranger, &outbox));
        let mut writing = pin!(write(sink, rooms, &outbox));
        tokio::select! {
            end = &mut listening => {
                outbox.end(end);
                writing.await;
            }
            () = &mut writing => {}
        }
    }
    // Until the client has closed its side: to close first may take from it what was sent last.
    let closed = async { while let Some(Ok(_)) = stream.next().await {} };
    let _ = timeout(GOODBYE, closed).await;
}

/// Takes what the client says to the room, and gives the reason why that ended.
async fn listen(stream: &mut SplitStream<WebSocket>, app: &App, stranger: Stranger, outbox: &Outbox) -> End {
    let rooms = &app.rooms;
    let limits = rooms.limits();
    let stop = rooms.stop();
    stranger.limit(LONGEST_HELLO as u64 + FRAMING);
    let first = tokio::select! {
        first = timeout(limits.hello, hear(stream)) => first,
        () = stop.cancelled() => return End::Stopping,
    };
    let admitted = match first {
        Err(_) => {
            let seconds = limits.hello.as_secs_f32();
            return End::Refused(Error::new(Code::BadState, format!("no hello came within {seconds} s")));
        }
        Ok(Said::Gone) => return End::Gone,
        Ok(Said::Wrong(error)) => return End::Refused(error),
        Ok(Said::Frame(frame)) => match admit(&frame, app, outbox).await {
            Ok(admitted) => admitted,
            Err(error) => return End::Refused(error),
        },
    };
    stranger.let_in();
    let expiry = async {
        match admitted.pass.remaining(now()) {
            Some(remaining) => sleep(remaining).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        end = converse(stream, rooms, &admitted, outbox) => end,
        () = expiry => End::Refused(auth::expired()),
        end = tell_drained(outbox, &admitted.place) => end,
    }
}

/// What a client has once it is let in.
struct Admitted {
    place: Place,
    access: Access,
    pass: Pass,
    _session: OwnedSemaphorePermit,
}

/// Lets the client into its document's room, if its first frame says what it has to.
async fn admit(frame: &[u8], app: &App, outbox: &Outbox) -> Result<Admitted, Error> {
    let hello = read_hello(frame)?;
    let pass = app.check_token(&hello.token)?;
    let access = pass.access(&hello.document)?;
    check_served(&hello, &app.rooms.definition().name, &app.hash)?;
    if access < Access::Write {
        app.rooms.check_exists(&hello.document).await?;
    }
    let session = app.take_place()?;
    let place = app.rooms.join(hello, outbox)?;
    Ok(Admitted { place, access, pass, _session: session })
}

/// Tells the room whenever the client has read what it asked about, for as long as the session lasts.
async fn tell_drained(outbox: &Outbox, place: &Place) -> End {
    loop {
        outbox.until_drained().await;
        place.drained();
    }
}

/// Hands the client's frames to the room; a session that may only read ends when it pushes, and its client keeps what
/// it wanted to push.
async fn converse(
    stream: &mut SplitStream<WebSocket>,
    rooms: &Rooms,
    admitted: &Admitted,
    outbox: &Outbox,
) -> End {
    let Admitted { place, access, .. } = admitted;
    let limits = rooms.limits();
    let mut pace = Pace::new(limits.rate, Instant::now());
    loop {
        // A live client answers pings, which `hear` takes for a sign of life.
        match hear_within(stream, limits.silence(), outbox).await {
            Said::Frame(frame) => {
                if *access < Access::Write && ClientMessage::would_change(&frame) {
                    return End::Refused(auth::read_only());
                }
                rooms.metrics().received.add(frame.len() as u64);
                let wait = pace.take(Instant::now());
                if !wait.is_zero() {
                    sleep(wait).await;
                }
                if !place.frame(frame.into()).await {
                    return std::future::pending().await;
                }
            }
            Said::Wrong(error) => return End::Refused(error),
            Said::Gone => return End::Gone,
        }
    }
}

/// The next thing the client says; gone if it gives no sign of life for so long. One that is slow has not come to the
/// pings yet, but reads.
async fn hear_within(stream: &mut SplitStream<WebSocket>, silence: Duration, outbox: &Outbox) -> Said {
    loop {
        match timeout(silence, stream.next()).await {
            Err(_) if outbox.has_moved() => {}
            Err(_) => return Said::Gone,
            Ok(next) => {
                if let Some(said) = understand(next) {
                    return said;
                }
            }
        }
    }
}

async fn hear(stream: &mut SplitStream<WebSocket>) -> Said {
    loop {
        if let Some(said) = understand(stream.next().await) {
            return said;
        }
    }
}

fn understand(next: Option<Result<Message, axum::Error>>) -> Option<Said> {
    Some(match next {
        None | Some(Ok(Message::Close(_))) => Said::Gone,
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => return None,
        Some(Ok(Message::Binary(frame))) => Said::Frame(frame),
        Some(Ok(Message::Text(_))) => {
            Said::Wrong(Error::new(Code::BadFrame, "messages are binary frames, not text"))
        }
        Some(Err(error)) => match error.into_inner().downcast_ref() {
            Some(tungstenite::Error::Capacity(_)) => {
                Said::Wrong(Error::new(Code::Limit, "a frame is longer than one may be"))
            }
            Some(tungstenite::Error::Protocol(
                tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            )) => Said::Gone,
            Some(tungstenite::Error::Protocol(_) | tungstenite::Error::Utf8(_)) => {
                Said::Wrong(Error::new(Code::BadFrame, "the bytes are not websocket frames"))
            }
            Some(tungstenite::Error::Io(error)) if Allowance::is_used_up(error) => {
                Said::Wrong(Error::new(Code::Limit, "more came than a hello may have"))
            }
            _ => Said::Gone,
        },
    })
}

/// Writes what is queued until the end, and then says goodbye.
async fn write(mut sink: SplitSink<WebSocket, Message>, rooms: &Rooms, outbox: &Outbox) {
    let limits = rooms.limits();
    let mut ping = interval(limits.ping);
    ping.tick().await;
    let end = loop {
        let message = tokio::select! {
            next = outbox.next() => match next {
                Next::Frame(frame) => Message::Binary(frame),
                Next::End(end) => break end,
            },
            _ = ping.tick() => Message::Ping(Bytes::new()),
        };
        let bytes = if let Message::Binary(frame) = &message { frame.len() } else { 0 };
        tokio::select! {
            biased;
            () = outbox.until_cut() => {}
            sent = timeout(limits.stall, sink.send(message)) => match sent {
                Ok(Ok(())) => {
                    outbox.wrote(bytes);
                    rooms.metrics().sent.add(bytes as u64);
                }
                Ok(Err(_)) => return,
                Err(_) => outbox.cut(Error::new(Code::Limit, "the session does not read")),
            },
        }
    };
    if let End::Refused(error) = &end {
        rooms.metrics().refused(error.code);
    }
    let _ = timeout(GOODBYE, say_goodbye(&mut sink, end)).await;
}

async fn say_goodbye(sink: &mut SplitSink<WebSocket, Message>, end: End) -> Result<(), axum::Error> {
    let (code, reason) = match end {
        End::Gone => return Ok(()),
        End::Closed => (close_code::NORMAL, String::new()),
        End::Stopping => (close_code::AWAY, "the server stops".to_owned()),
        End::Refused(Error { code: error_code, message }) => {
            let code = error_code.as_str().to_owned();
            // The message may quote what the client said. Who may only read what is not there yet asks again and again.
            match error_code {
                Code::BadDocumentId => tracing::debug!(code, "a session is refused"),
                _ => tracing::info!(code, "a session is refused"),
            }
            let refused = ServerMessage::Refused { code: code.clone(), message };
            sink.send(Message::Binary(refused.to_bytes().into())).await?;
            (close_code::NORMAL, code)
        }
    };
    sink.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await
}
