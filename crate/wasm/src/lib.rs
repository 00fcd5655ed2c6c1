//! The core as a browser's worker sees it: messages in, effects out, one document at a time.
//!
//! `start` makes the replica, `handle` gives it everything that has come and returns everything it wants done, `stop`
//! drops it. The shapes are those of worker/src/core.ts. Whatever `handle` throws, the instance is dead.

mod effect;
mod input;

use std::cell::RefCell;

use js_sys::Array;
use offprint_core::Replica;
use offprint_core::host::ReplicaEffect;
use offprint_protocol::Error;
use offprint_protocol::rpc::Problem;
use wasm_bindgen::prelude::*;

thread_local! {
    static REPLICA: RefCell<Option<Replica>> = const { RefCell::new(None) };
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
        effects.into_iter().map(effect::to_js).collect()
    })
}

/// Drops the replica: nothing of it is needed that is not on the disk or with the tabs.
#[wasm_bindgen]
pub fn stop() {
    REPLICA.take();
}

fn thrown(error: Error) -> JsValue {
    serde_wasm_bindgen::to_value(&Problem::from(error)).unwrap_or_else(JsValue::from)
}
