//! `offprint serve`.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use offprint_server::{Auth, Config, KeySource, Limits, Server, StopToken, read_definition};
use tracing_subscriber::EnvFilter;

#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// The definition, as JSON: the output of `npx offprint-definition`
    definition: PathBuf,
    /// The directory of the documents
    #[arg(long, default_value = "./data")]
    data: PathBuf,
    /// Where to listen; without --auth this must be an address that only this machine reaches
    #[arg(long, default_value = "127.0.0.1:8787")]
    listen: String,
    /// An origin whose pages may connect, besides those of this machine; may be given more than once
    #[arg(long = "origin", value_name = "URL")]
    origins: Vec<String>,
    /// Asks for JSON Web Tokens that this key signed: hs256=FILE (a secret of at least 32 bytes), eddsa=FILE or
    /// rs256=FILE (a public key as PEM), or jwks=FILE (a JWK set); may be given more than once
    #[arg(long = "auth", value_name = "ALGORITHM=FILE")]
    auth: Vec<KeySource>,
    /// The audience (`aud`) that tokens have to name
    #[arg(long, value_name = "NAME", requires = "auth")]
    audience: Option<String>,
    /// The issuer (`iss`) that tokens have to name
    #[arg(long, value_name = "NAME", requires = "auth")]
    issuer: Option<String>,
    /// An address of its own for /metrics, /healthz and /readyz; without one /metrics is at --listen, unless there is
    /// --auth
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<String>,
    /// How log lines look; RUST_LOG says which there are (default: info)
    #[arg(long, value_enum, default_value = "text")]
    log: Log,
    #[command(flatten)]
    limits: LimitArguments,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Log {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
struct LimitArguments {
    /// Seconds that a connection may take to make a request, and a session to say hello
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    hello_timeout: u64,
    /// The most bytes of one frame from a client, 2 MiB at least
    #[arg(long, default_value_t = 8_388_608, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=8_388_608))]
    max_message: u32,
    /// The most bytes of one mutation's arguments; a larger one is rejected with too_large
    #[arg(long, default_value_t = 1_000_000, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_mutation: u32,
    /// Milliseconds that one mutation may take; one that takes longer is rejected with limit
    #[arg(long, default_value_t = 5000, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    max_mutation_time: u64,
    /// Milliseconds that a query of a back end may take; one that takes longer is answered with limit
    #[arg(long, default_value_t = 5000, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    max_query_time: u64,
    /// The most bytes that a document may grow to; a mutation that exceeds it is rejected with limit
    #[arg(long, default_value_t = 512 << 20, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(4096..))]
    max_document: u64,
    /// Messages per second after which a session is slowed down
    #[arg(long, default_value_t = 2000, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    max_rate: u32,
    /// The most sessions
    #[arg(long, default_value_t = 20_000, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    max_sessions: u32,
    /// The most sessions of one document
    #[arg(long, default_value_t = 1000, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    max_document_sessions: u32,
    /// The most connections without a session: before hello, or plain HTTP
    #[arg(long, default_value_t = 1024, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    max_handshakes: u32,
    /// The most documents that are open at once
    #[arg(long, default_value_t = 4096, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    max_open: u32,
    /// Seconds after which a document without sessions is closed, and one that nobody writes to or joins leaves memory
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    idle: u64,
    /// Keeps what documents were: each can be restored to any moment that is no longer ago than this, like 12h or 7d
    #[arg(long, value_name = "TIME", help_heading = "Options")]
    history: Option<humantime::Duration>,
}

impl From<LimitArguments> for Limits {
    fn from(arguments: LimitArguments) -> Self {
        Limits {
            hello: Duration::from_secs(arguments.hello_timeout),
            message: arguments.max_message as usize,
            mutation: arguments.max_mutation as usize,
            mutation_time: Duration::from_millis(arguments.max_mutation_time),
            query_time: Duration::from_millis(arguments.max_query_time),
            document: arguments.max_document,
            rate: arguments.max_rate,
            sessions: arguments.max_sessions as usize,
            sessions_per_document: arguments.max_document_sessions as usize,
            handshakes: arguments.max_handshakes as usize,
            rooms: arguments.max_open as usize,
            idle: Duration::from_secs(arguments.idle),
            history: arguments.history.map(Into::into),
            ..Limits::default()
        }
    }
}

pub(crate) fn serve(arguments: Serve) -> Result<(), Box<dyn Error>> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match arguments.log {
        Log::Text => log.init(),
        Log::Json => log.json().init(),
    }
    allow_many_files();
    let runtime = tokio::runtime::Runtime::new()?;
    let result = runtime.block_on(run(arguments));
    // Every document is closed. What may still compute is a query that is deep in one of SQLite's functions.
    runtime.shutdown_background();
    result
}

async fn run(arguments: Serve) -> Result<(), Box<dyn Error>> {
    let Serve { definition, data, listen, origins, auth, audience, issuer, metrics, limits, .. } = arguments;
    let definition = read_definition(&definition)?;
    let name = definition.name.clone();
    let auth = if auth.is_empty() { None } else { Some(Auth::load(&auth, audience, issuer)?) };
    let limits = limits.into();
    let server = Server::bind(Config { definition, data, listen, origins, auth, metrics, limits }).await?;
    stop_on_signals(server.stop_token())?;
    if let Some(address) = server.metrics_address() {
        tracing::info!(%address, "metrics");
    }
    writeln!(io::stdout(), "offprint: serving {name:?} on http://{}", server.address())?;
    io::stdout().flush()?;
    server.run().await;
    Ok(())
}

/// Every session and every open document takes file descriptors, and the usual limit is low for old programs' sake.
#[cfg(unix)]
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        tracing::warn!(?current, "the limit of open files stays as it is");
    }
}

#[cfg(not(unix))]
fn allow_many_files() {}

#[cfg(unix)]
fn stop_on_signals(stop: StopToken) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stop.cancel();
    });
    Ok(())
}

#[cfg(not(unix))]
fn stop_on_signals(stop: StopToken) -> io::Result<()> {
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            tracing::info!("stopping");
            stop.cancel();
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        serve: Serve,
    }

    #[test]
    fn the_limits_without_options_are_the_defaults() {
        let Program { serve } = Program::parse_from(["serve", "notes.json"]);
        assert_eq!(format!("{:?}", Limits::from(serve.limits)), format!("{:?}", Limits::default()));
    }

    #[test]
    fn an_option_that_makes_no_sense_is_refused() {
        for wrong in [
            ["--max-message", "8388609"],
            ["--max-mutation", "1000001"],
            ["--max-document", "0"],
            ["--max-sessions", "0"],
            ["--audience", "without auth"],
            ["--auth", "none=key"],
        ] {
            assert!(
                Program::try_parse_from(["serve", "notes.json"].into_iter().chain(wrong)).is_err(),
                "{wrong:?}"
            );
        }
    }
}
