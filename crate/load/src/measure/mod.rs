//! The measurements, one file each.

mod idle_sessions;
mod join;
mod one_core;
mod room_open;
mod round_trip;
mod wire;

use std::io::{self, Write};

use crate::Result;
use crate::figure::Figure;
use crate::scale::Scale;
use crate::setup::Setup;

/// Runs the measurements whose names contain `only`, one after the other.
pub async fn measure(setup: &Setup, scale: &Scale, only: &str) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let asked = |name: &str| {
        // Progress for whoever watches; nothing depends on it.
        name.contains(only) && writeln!(io::stderr(), "{name}").is_ok()
    };
    if asked("confirm") {
        figures.extend(round_trip::measure(setup, scale).await?);
    }
    if asked("many documents") {
        figures.push(one_core::many_documents(setup, scale).await?);
    }
    if asked("one document") {
        figures.push(one_core::one_document(setup, scale).await?);
    }
    if asked("idle sessions") {
        figures.push(idle_sessions::measure(setup, scale).await?);
    }
    if asked("room open") {
        figures.extend(room_open::measure(setup, scale).await?);
    }
    if asked("join") {
        figures.extend(join::measure(setup, scale).await?);
    }
    if asked("wire") {
        figures.extend(wire::measure(setup, scale).await?);
    }
    Ok(figures)
}
