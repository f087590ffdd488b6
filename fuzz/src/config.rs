//! The server's configuration file.
//!
//! Checked: any text is taken or refused with a sentence; a sentence about another setting does not show the database's
//! URL, which may hold a password.

use echomesh_server::cli::Settings;

/// See the module.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Settings::parse(text) {
        Ok(settings) => drop(settings.or(Settings::default())),
        Err(sentence) => {
            assert!(!sentence.is_empty());
            // What stands between the name and the host of a URL.
            let secret = text.split_once("postgres://").and_then(|(_, rest)| rest.split_once('@'));
            let secret = secret.map(|(secret, _)| secret).filter(|secret| secret.len() > 12 && !secret.contains('\n'));
            // One that stands elsewhere too may be another setting's.
            if let Some(secret) = secret.filter(|secret| text.matches(secret).count() == 1) {
                let shows = sentence.contains(secret) && !says_by_itself(text, secret);
                assert!(!shows, "it shows {secret:?}");
            }
        }
    }
}

/// Whether the sentence has the same words whatever the secret is: a fuzzer learns the parser's own.
fn says_by_itself(text: &str, secret: &str) -> bool {
    let other: String = secret.chars().map(|letter| if letter.is_alphanumeric() { 'x' } else { letter }).collect();
    other != secret && Settings::parse(&text.replace(secret, &other)).is_err_and(|sentence| sentence.contains(secret))
}
