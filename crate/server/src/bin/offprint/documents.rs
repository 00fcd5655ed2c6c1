//! The commands that look into a data directory while no server serves it.

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;

use offprint_protocol::DocumentId;
use offprint_server::{DataLock, Moment, Stored, documents, import};

type Done = Result<(), Box<dyn Error>>;

#[derive(Debug, clap::Args)]
pub(crate) struct Data {
    /// The directory of the documents; no server may be using it
    #[arg(long, default_value = "./data")]
    data: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct OneFile {
    /// The document's id
    #[arg(value_parser = DocumentId::new)]
    document: DocumentId,
    /// The SQLite file
    file: PathBuf,
    #[command(flatten)]
    data: Data,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    #[command(flatten)]
    what: OneFile,
    /// As it was: an Lsn, or a time like 2026-01-31T18:00:00Z, which means the last commit until then. The server has to
    /// keep a history (serve --history)
    #[arg(long, value_name = "LSN or TIME")]
    at: Option<Moment>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Several {
    /// The documents' ids; every document, if none is named
    #[arg(value_parser = DocumentId::new)]
    documents: Vec<DocumentId>,
    #[command(flatten)]
    data: Data,
}

impl Several {
    fn named(self) -> Result<(PathBuf, Vec<DocumentId>), Box<dyn Error>> {
        let data = self.data.data;
        let named = if self.documents.is_empty() { documents(&data)? } else { self.documents };
        Ok((data, named))
    }
}

pub(crate) fn run_export(Export { what, at }: Export) -> Done {
    let OneFile { document, file, data: Data { data } } = what;
    let _lock = DataLock::beside_others(&data)?;
    let stored = Stored::read(&data, &document)?;
    match at {
        None => stored.export(&file)?,
        Some(at) => writeln!(io::stdout(), "Lsn {}", stored.export_at(at, &file)?)?,
    }
    Ok(())
}

pub(crate) fn run_import(OneFile { document, file, data: Data { data } }: OneFile) -> Done {
    std::fs::create_dir_all(&data)?;
    let _lock = DataLock::beside_others(&data)?;
    Ok(import(&data, &document, &file)?)
}

pub(crate) fn run_inspect(arguments: Several) -> Done {
    let _lock = DataLock::beside_others(&arguments.data.data)?;
    let (data, named) = arguments.named()?;
    let mut out = io::stdout().lock();
    for document in named {
        writeln!(out, "{document}")?;
        for (name, value) in Stored::read(&data, &document)?.describe()? {
            writeln!(out, "  {name}: {value}")?;
        }
    }
    Ok(())
}

pub(crate) fn run_verify(arguments: Several) -> Done {
    let _lock = DataLock::beside_others(&arguments.data.data)?;
    let (data, named) = arguments.named()?;
    let mut out = io::stdout().lock();
    let (mut good, mut bad) = (0, 0);
    for document in named {
        let wrong = match Stored::read(&data, &document)
            .and_then(|stored| Ok([stored.check()?, stored.check_past()].concat()))
        {
            Ok(wrong) => wrong,
            Err(error) => vec![error.to_string()],
        };
        if wrong.is_empty() {
            good += 1;
            writeln!(out, "{document}: ok")?;
        } else {
            bad += 1;
            writeln!(out, "{document}: {}", wrong.join("; "))?;
        }
    }
    writeln!(out, "{good} ok, {bad} not")?;
    if bad > 0 { Err("not every document is as it should be".into()) } else { Ok(()) }
}
