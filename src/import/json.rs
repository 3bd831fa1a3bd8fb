//! Reads JSON as jsoncpp does: with comments, and commas behind the last value.

use jsonc_parser::errors::ParseError;
use jsonc_parser::tokens::Token;
use jsonc_parser::{ParseOptions, Scanner, ScannerOptions, parse_to_serde_value};
use serde_json::{Map, Value};

/// Whether an object is the first value of the text.
pub(super) fn begins_with_object(text: &str) -> bool {
    let mut scanner = Scanner::new(text, &ScannerOptions::default());
    loop {
        match scanner.scan() {
            Ok(Some(Token::CommentLine(_) | Token::CommentBlock(_))) => {}
            token => return matches!(token, Ok(Some(Token::OpenBrace))),
        }
    }
}

/// Parses an object.
///
/// # Errors
///
/// The text is no object, or not the JSON that jsoncpp reads by default.
pub(super) fn object(text: &str) -> Result<Map<String, Value>, ParseError> {
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    parse_to_serde_value(text, &options)
}
