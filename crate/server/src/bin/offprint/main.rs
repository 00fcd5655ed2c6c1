//! `offprint`: serves documents.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use offprint_server::{Auth, Config, KeySource, Limits, Server, StopToken, read_definition};
use tracing_subscriber::EnvFilter;

/// SQLite documents: local first, shared, synchronised.
#[derive(Debug, Parser)]
#[command(name = "offprint", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves the documents of one definition.
    Serve(Serve),
}

#[derive(Debug, clap::Args)]
struct Serve {
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
}

fn main() -> ExitCode {
    let Arguments { command: Command::Serve(arguments) } = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
    let result = tokio::runtime::Runtime::new()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(serve(arguments)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if even this cannot be written.
            let _ = writeln!(io::stderr(), "offprint: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Serve) -> Result<(), Box<dyn std::error::Error>> {
    let Serve { definition, data, listen, origins, auth, audience, issuer } = arguments;
    let definition = read_definition(&definition)?;
    let name = definition.name.clone();
    let auth = if auth.is_empty() { None } else { Some(Auth::load(&auth, audience, issuer)?) };
    let limits = Limits::default();
    let server = Server::bind(Config { definition, data, listen, origins, auth, limits }).await?;
    stop_on_signals(server.stop_token())?;
    writeln!(io::stdout(), "offprint: serving {name:?} on http://{}", server.address())?;
    io::stdout().flush()?;
    server.run().await?;
    Ok(())
}

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
