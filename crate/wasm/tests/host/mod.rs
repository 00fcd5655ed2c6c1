//! A host in the test's own worker: the disk is in memory, the tabs are lists of what they were told.

use js_sys::{Array, JSON, Object, Reflect, Uint8Array};
use offprint_core::disk::{BatchNo, DiskBatch, DiskOp, DiskValue, FileName};
use offprint_core::disk_memory::DiskMemory;
use wasm_bindgen::JsValue;

pub const TAB_A: &str = "000000000000000000000000000000aa";
pub const TAB_B: &str = "000000000000000000000000000000bb";

const DEFINITION: &str = r#"{
    "name": "todos",
    "migrations": ["CREATE TABLE todo (id TEXT PRIMARY KEY, n, done INTEGER NOT NULL DEFAULT 0)"],
    "mutators": {
        "add": {"sql": "INSERT INTO todo (id, n) VALUES (:id, :n)"},
        "finish": {"sql": "UPDATE todo SET done = 1 WHERE id = :id"}
    }
}"#;

pub fn json(text: &str) -> JsValue {
    JSON::parse(text).unwrap()
}

/// What is at a path of names and indices; undefined if there is nothing.
pub fn at(value: &JsValue, path: &str) -> JsValue {
    path.split('.').fold(value.clone(), |value, name| {
        if value.is_object() { Reflect::get(&value, &name.into()).unwrap() } else { JsValue::UNDEFINED }
    })
}

fn set(object: &JsValue, name: &str, value: &JsValue) {
    Reflect::set(object, &name.into(), value).unwrap();
}

/// `{name: value}`
pub fn wrap(name: &str, value: &JsValue) -> JsValue {
    let object = Object::new().into();
    set(&object, name, value);
    object
}

/// A tab's request, given as JSON.
pub fn request(tab: &str, no: u32, text: &str) -> JsValue {
    let request = json(&format!(r#"{{"tab": "{tab}", "no": {no}}}"#));
    set(&request, "request", &json(text));
    wrap("request", &request)
}

pub fn config(definition: &str, entropy: u8) -> JsValue {
    let config = json(r#"{"document": "a", "server": false}"#);
    set(&config, "definition", &json(definition));
    set(&config, "entropy", &Uint8Array::from([entropy; 32].as_slice()).into());
    config
}

pub struct Host {
    disk: DiskMemory,
    lives: u8,
    now: f64,
    heard: Vec<(String, JsValue)>,
}

impl Host {
    pub fn new() -> Self {
        let mut host = Self { disk: DiskMemory::new(1), lives: 0, now: 1.8e12, heard: Vec::new() };
        host.reopen();
        host
    }

    /// Starts a replica anew from what is on the disk, with two tabs.
    pub fn reopen(&mut self) {
        self.lives += 1;
        offprint_wasm::stop();
        offprint_wasm::start(config(DEFINITION, self.lives)).unwrap();
        self.put(&[
            json(&format!(r#"{{"tabHere": {{"tab": "{TAB_A}"}}}}"#)),
            json(&format!(r#"{{"tabHere": {{"tab": "{TAB_B}"}}}}"#)),
            json(r#"{"diskReady": {"kind": "opfs", "durable": true}}"#),
        ]);
    }

    /// Hands these in together, and then whatever the disk answers.
    pub fn put(&mut self, inputs: &[JsValue]) {
        let mut inputs: Array = inputs.iter().collect();
        while inputs.length() > 0 {
            self.now += 1.0;
            let effects = offprint_wasm::handle(self.now, &inputs).unwrap();
            inputs = Array::new();
            for effect in effects.iter() {
                let (tab, batch) = (at(&effect, "tab.tab"), at(&effect, "disk"));
                if let Some(tab) = tab.as_string() {
                    self.heard.push((tab, at(&effect, "tab.event")));
                } else if batch.is_object() {
                    inputs.push(&wrap("disk", &self.run(&batch)));
                }
            }
        }
    }

    /// What a tab was told since it was last asked for.
    pub fn heard(&mut self, tab: &str) -> Vec<JsValue> {
        let (mine, others) = std::mem::take(&mut self.heard).into_iter().partition(|(other, _)| other == tab);
        self.heard = others;
        mine.into_iter().map(|(_, event)| event).collect()
    }

    /// Reads the document's files beside the replica.
    pub fn inspect(&mut self) -> Result<JsValue, JsValue> {
        self.inspect_as("a")
    }

    pub fn inspect_as(&mut self, document: &str) -> Result<JsValue, JsValue> {
        let mut found = offprint_wasm::inspect(document)?;
        while at(&found, "disk").is_object() {
            found = offprint_wasm::inspected(self.run(&at(&found, "disk")))?;
        }
        Ok(found)
    }

    fn run(&mut self, batch: &JsValue) -> JsValue {
        let no = at(batch, "no").as_f64().unwrap();
        let ops = Array::from(&at(batch, "ops")).iter().map(|op| disk_op(&op)).collect();
        let answer = self.disk.run(&DiskBatch { no: BatchNo(no as u64), ops });
        let values: Array = answer.result.unwrap().into_iter().map(disk_value).collect();
        let answer = wrap("no", &no.into());
        set(&answer, "values", &values);
        answer
    }
}

fn disk_op(op: &JsValue) -> DiskOp {
    let name = at(op, "file").as_string().unwrap();
    let file = FileName::ALL.into_iter().find(|file| file.as_str() == name).unwrap();
    let number = |name| at(op, name).as_f64().unwrap() as u64;
    match at(op, "op").as_string().unwrap().as_str() {
        "size" => DiskOp::Size { file },
        "read" => DiskOp::Read { file, offset: number("offset"), len: number("len") as u32 },
        "write" => {
            let bytes = Uint8Array::new(&at(op, "bytes")).to_vec();
            DiskOp::Write { file, offset: number("offset"), bytes }
        }
        "grow" => DiskOp::Grow { file, to: number("to") },
        "truncate" => DiskOp::Truncate { file, to: number("to") },
        "flush" => DiskOp::Flush { file },
        other => panic!("an unknown operation {other}"),
    }
}

fn disk_value(value: DiskValue) -> JsValue {
    match value {
        DiskValue::Done => JsValue::NULL,
        DiskValue::Size(size) => (size as f64).into(),
        DiskValue::Bytes(bytes) => Uint8Array::from(bytes.as_slice()).into(),
    }
}
