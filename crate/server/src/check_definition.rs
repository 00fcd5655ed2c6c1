//! Whether documents can be made from a definition: better told to the operator once than to every client.

use offprint_core::Image;
use offprint_core::mutator::Mutators;
use offprint_core::pages::Pages;
use offprint_core::sqlite::Database;
use offprint_protocol::{Definition, Error, JournalId};

/// Fails if a mutator does not compile, or a migration does not run in an empty document.
pub(crate) fn check_definition(definition: &Definition) -> Result<(), Error> {
    definition.check()?;
    Mutators::compile(definition)?;
    let empty = Image::empty(JournalId([0; 16]));
    Database::open(Pages::new(empty))?.migrate(definition)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use offprint_protocol::{Code, MutatorSource};

    use super::*;

    fn check(migration: &str, mutator: &str) -> Result<(), Error> {
        check_definition(&Definition {
            name: "d".into(),
            migrations: vec![migration.into()],
            mutators: BTreeMap::from([("m".into(), MutatorSource { sql: mutator.into() })]),
        })
    }

    #[test]
    fn a_definition_that_cannot_work_is_told_apart() {
        check("CREATE TABLE a (b)", "INSERT INTO a VALUES (:b)").unwrap();
        for (migration, mutator, expected) in [
            ("CREATE TABL a (b)", "SELECT 1", "TABL"),
            ("ATTACH 'x' AS y", "SELECT 1", "ATTACH"),
            ("CREATE TABLE a (b)", " ", "\"m\""),
        ] {
            let error = check(migration, mutator).unwrap_err();
            assert_eq!(error.code, Code::BadDefinition);
            assert!(error.message.contains(expected), "{error}");
        }
    }
}
