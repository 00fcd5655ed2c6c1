//! The core as a browser's worker sees it: messages in, effects out, one document at a time.
//!
//! `start` makes the replica, `handle` gives it everything that has come and returns everything it wants done, `stop`
//! drops it. `inspect` and `inspected` read a document's files without opening it. The shapes are those of
//! worker/src/core.ts. Whatever `handle` throws, the instance is dead.

mod effect;
mod input;

use std::cell::RefCell;

use effect::{Effect, Inspected};
use js_sys::Array;
use offprint_core::Replica;
use offprint_core::host::ReplicaEffect;
use offprint_core::inspection::Inspection;
use offprint_protocol::rpc::Problem;
use offprint_protocol::{DocumentId, Error};
use wasm_bindgen::prelude::*;

thread_local! {
    static REPLICA: RefCell<Option<Replica>> = const { RefCell::new(None) };
    static INSPECTION: RefCell<Option<Inspection>> = const { RefCell::new(None) };
}

/// Makes the replica of one document, in place of the one before; throws `{code, message}` if the definition is bad.
#[wasm_bindgen]
pub fn start(config: JsValue) -> Result<(), JsValue> {
    console_error_panic_hook::set_once();
    let config = input::config(config).map_err(thrown)?;
    let replica = Replica::new(config).map_err(thrown)?;
    REPLICA.set(Some(replica));
    Ok(())
}

/// Hands in all that has come, `now` in milliseconds since 1970, and returns all that is to be done, in order.
#[wasm_bindgen]
pub fn handle(now: f64, inputs: &Array) -> Result<Array, JsValue> {
    REPLICA.with_borrow_mut(|replica| {
        let replica = replica.as_mut().ok_or("BUG: no replica was started")?;
        let mut effects = Vec::<ReplicaEffect>::new();
        let mut taken = Vec::with_capacity(inputs.length() as usize);
        for value in inputs.iter() {
            match input::input(value)? {
                input::Taken::Input(input) => taken.push(input),
                input::Taken::Refused(effect) => effects.push(effect),
            }
        }
        replica.handle(now as u64, taken, &mut effects);
        effects.into_iter().map(|effect| effect::to_js(&Effect::from(effect))).collect()
    })
}

/// Drops the replica: nothing of it is needed that is not on the disk or with the tabs.
#[wasm_bindgen]
pub fn stop() {
    REPLICA.take();
}

/// Begins to read a document's files, in place of those before; gives `{disk}`, the first batch.
#[wasm_bindgen]
pub fn inspect(document: &str) -> Result<JsValue, JsValue> {
    console_error_panic_hook::set_once();
    let inspection = Inspection::new(DocumentId::new(document).map_err(thrown)?);
    INSPECTION.with_borrow_mut(|slot| next_batch(slot.insert(inspection)))
}

/// Takes the disk's answer; gives `{disk}`, the next batch, or what no server has: `{mutations}`, `"history"` or
/// `{unknown}`. Throws `{code, message}` if the files cannot be read.
#[wasm_bindgen]
pub fn inspected(answer: JsValue) -> Result<JsValue, JsValue> {
    INSPECTION.with_borrow_mut(|slot| {
        let inspection = slot.as_mut().ok_or("BUG: nothing is inspected")?;
        match inspection.answer(input::answer(answer)?).map_err(thrown)? {
            Some(unsent) => {
                *slot = None;
                effect::to_js(&Inspected::from(unsent))
            }
            None => next_batch(inspection),
        }
    })
}

fn next_batch(inspection: &mut Inspection) -> Result<JsValue, JsValue> {
    let batch = inspection.next_batch().ok_or("BUG: an inspection without a batch")?;
    effect::to_js(&Inspected::from(batch))
}

fn thrown(error: Error) -> JsValue {
    serde_wasm_bindgen::to_value(&Problem::from(error)).unwrap_or_else(JsValue::from)
}
