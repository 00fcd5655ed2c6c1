//! Reading a definition from the JSON that `npx offprint-definition` writes.

use std::fs;
use std::path::Path;

use offprint_protocol::Definition;

use crate::start_error::StartError;

const SOURCE: [&str; 7] = ["ts", "mts", "cts", "tsx", "js", "mjs", "jsx"];

/// Reads a definition from a JSON file; source code is refused by naming the command that makes the JSON.
pub fn read_definition(path: &Path) -> Result<Definition, StartError> {
    if path.extension().is_some_and(|extension| SOURCE.iter().any(|source| extension == *source)) {
        return Err(StartError::DefinitionIsSource { path: path.to_owned() });
    }
    let text = fs::read_to_string(path)
        .map_err(|source| StartError::ReadDefinition { path: path.to_owned(), source })?;
    let definition: Definition = serde_json::from_str(&text)
        .map_err(|source| StartError::ParseDefinition { path: path.to_owned(), source })?;
    definition.check().map_err(StartError::BadDefinition)?;
    Ok(definition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_code_is_refused_with_the_command_that_makes_the_json() {
        let error = read_definition(Path::new("app/board.ts")).unwrap_err().to_string();
        assert!(error.contains("`npx offprint-definition app/board.ts > app/board.json`"), "{error}");
    }

    #[test]
    fn a_file_that_is_not_a_definition_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("board.json");
        for (text, expected) in [
            ("{", "is not a definition"),
            (r#"{"name":"a","migrations":[],"mutators":{},"more":1}"#, "unknown field `more`"),
            (r#"{"name":"","migrations":[],"mutators":{}}"#, "bad_definition"),
        ] {
            fs::write(&path, text).unwrap();
            let error = read_definition(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(matches!(
            read_definition(&dir.path().join("absent.json")),
            Err(StartError::ReadDefinition { .. })
        ));
    }
}
