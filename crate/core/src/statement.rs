//! SQL text cut into statements, without preparing them: the schema they need may not be there yet.

/// One statement's text, without what surrounds it, and what can be told from its words alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement<'sql> {
    /// From its first token to its last.
    pub(crate) text: &'sql str,
    /// Its parameters as they are written, each once, in the order of their first use.
    pub(crate) params: Vec<&'sql str>,
    /// Whether the word ROLLBACK is in it, outside of quotes.
    pub(crate) has_rollback: bool,
    /// Whether one of its strings is a time modifier that depends on where the device is.
    pub(crate) has_local_time: bool,
}

/// The statements of `sql`, split at each `;` as SQLite does outside of CREATE TRIGGER.
pub(crate) fn split(sql: &str) -> Vec<Statement<'_>> {
    let mut statements = Vec::new();
    let mut current: Option<(usize, usize, Statement<'_>)> = None;
    for token in Tokens::new(sql) {
        if token.kind == Kind::Semicolon {
            statements.extend(
                current.take().map(|(from, to, statement)| Statement { text: &sql[from..to], ..statement }),
            );
            continue;
        }
        let (_, end, statement) = current.get_or_insert_with(|| {
            let statement =
                Statement { text: "", params: Vec::new(), has_rollback: false, has_local_time: false };
            (token.start, token.start, statement)
        });
        *end = token.start + token.text.len();
        match token.kind {
            Kind::Parameter if !statement.params.contains(&token.text) => statement.params.push(token.text),
            Kind::Word => statement.has_rollback |= token.text.eq_ignore_ascii_case("rollback"),
            Kind::String => statement.has_local_time |= is_local_time(token.text.trim_matches('\'')),
            _ => {}
        }
    }
    statements.extend(current.map(|(from, to, statement)| Statement { text: &sql[from..to], ..statement }));
    statements
}

/// Whether SQLite's date functions take the text as a modifier that asks for the device's time zone.
pub(crate) fn is_local_time(text: &str) -> bool {
    text.eq_ignore_ascii_case("localtime") || text.eq_ignore_ascii_case("utc")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    String,
    Parameter,
    Semicolon,
    Other,
}

struct Token<'sql> {
    kind: Kind,
    start: usize,
    text: &'sql str,
}

/// SQLite's tokens, without space and comments.
struct Tokens<'sql> {
    sql: &'sql str,
    at: usize,
}

impl<'sql> Tokens<'sql> {
    fn new(sql: &'sql str) -> Self {
        Self { sql, at: 0 }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.sql.as_bytes().get(at).copied()
    }

    /// The end of the run of bytes that `belongs` accepts, from `at`.
    fn run(&self, mut at: usize, belongs: impl Fn(u8) -> bool) -> usize {
        while self.byte(at).is_some_and(&belongs) {
            at += 1;
        }
        at
    }

    /// The end of what `close` ends, after `from`; doubled, it stands for itself.
    fn quoted(&self, from: usize, close: u8) -> usize {
        let mut at = from + 1;
        while let Some(byte) = self.byte(at) {
            at += 1;
            if byte == close {
                if close == b']' || self.byte(at) != Some(close) {
                    return at;
                }
                at += 1;
            }
        }
        at
    }

    /// The end of `$name`, which may contain `::` and end in `(…)`.
    fn variable(&self, from: usize) -> usize {
        let mut at = from + 1;
        loop {
            let end = self.run(at, is_word);
            let named = end > from + 1;
            match (self.byte(end), self.byte(end + 1)) {
                (Some(b':'), Some(b':')) => at = end + 2,
                (Some(b'('), _) if named => {
                    let close = self.run(end + 1, |byte| byte != b')' && !byte.is_ascii_whitespace());
                    return if self.byte(close) == Some(b')') { close + 1 } else { close };
                }
                _ => return end,
            }
        }
    }
}

impl<'sql> Iterator for Tokens<'sql> {
    type Item = Token<'sql>;

    fn next(&mut self) -> Option<Token<'sql>> {
        loop {
            let start = self.run(self.at, |byte| byte.is_ascii_whitespace());
            let (end, kind) = match (self.byte(start)?, self.byte(start + 1)) {
                (b'-', Some(b'-')) => {
                    self.at = self.run(start, |byte| byte != b'\n');
                    continue;
                }
                (b'/', Some(b'*')) => {
                    let body = self.sql.as_bytes().get(start + 2..).unwrap_or_default();
                    let close = body.windows(2).position(|pair| pair == b"*/");
                    self.at = close.map_or(self.sql.len(), |close| start + 2 + close + 2);
                    continue;
                }
                (b';', _) => (start + 1, Kind::Semicolon),
                (b'\'', _) => (self.quoted(start, b'\''), Kind::String),
                (quote @ (b'"' | b'`'), _) => (self.quoted(start, quote), Kind::Other),
                (b'[', _) => (self.quoted(start, b']'), Kind::Other),
                (b'?', _) => (self.run(start + 1, |byte| byte.is_ascii_digit()), Kind::Parameter),
                (b':' | b'@' | b'$' | b'#', Some(next)) if is_word(next) || next == b':' => {
                    (self.variable(start), Kind::Parameter)
                }
                (byte, _) if is_word(byte) => (self.run(start, is_word), Kind::Word),
                _ => (start + 1, Kind::Other),
            };
            self.at = end;
            return Some(Token { kind, start, text: &self.sql[start..end] });
        }
    }
}

/// SQLite takes every byte above ASCII as part of a word.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || !byte.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<&str> {
        split(sql).into_iter().map(|statement| statement.text).collect()
    }

    #[test]
    fn statements_are_split_outside_of_quotes_and_comments() {
        assert_eq!(
            texts(" -- a;b\nSELECT ';', \";\", `;`, [;] /* ; */ ;; ; SELECT 'it''s;' -- end"),
            ["SELECT ';', \";\", `;`, [;]", "SELECT 'it''s;'"]
        );
        assert!(texts("").is_empty());
        assert!(texts(" ; -- nothing\n/* open").is_empty());
        assert_eq!(texts("SELECT 'open"), ["SELECT 'open"]);
        assert_eq!(texts("SELECT 'ü';SELECT \u{a0}x"), ["SELECT 'ü'", "SELECT \u{a0}x"]);
    }

    #[test]
    fn parameters_are_found_once_each_as_they_are_written() {
        let found = split("SELECT :a, @b, $c, :a, ':d', \"@e\", ?, ?7, $f::g(h), x -- :i");
        assert_eq!(found[0].params, [":a", "@b", "$c", "?", "?7", "$f::g(h)"]);
    }

    #[test]
    fn words_are_told_from_strings() {
        assert!(split("INSERT OR rollback INTO t VALUES (1)")[0].has_rollback);
        assert!(!split("SELECT 'rollback', \"rollback\", rollback_count -- rollback")[0].has_rollback);
        assert!(split("SELECT date(1, 'LocalTime')")[0].has_local_time);
        assert!(!split("SELECT localtime FROM t")[0].has_local_time);
    }

    #[test]
    fn any_text_is_split_without_panic() {
        let mut x = 7u64;
        for _ in 0..20_000 {
            let text: String = (0..12)
                .map(|_| {
                    x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    [
                        '\'', '"', '[', ']', '-', '/', '*', ';', ':', '$', '(', ')', '?', 'a', 'ü', '\n',
                        '#', '@',
                    ][(x >> 33) as usize % 18]
                })
                .collect();
            split(&text);
        }
    }
}
