//! The files of the page, built in: it needs nothing from elsewhere and works without a network.

use super::reply::{Reply, file};

/// Path, kind and content of each.
const FILES: [(&str, &str, &[u8]); 4] = [
    ("/", "text/html; charset=utf-8", include_bytes!("page/index.html")),
    ("/app.js", "text/javascript; charset=utf-8", include_bytes!("page/app.js")),
    ("/style.css", "text/css; charset=utf-8", include_bytes!("page/style.css")),
    ("/icon.svg", "image/svg+xml", include_bytes!("page/icon.svg")),
];

/// The file of this path.
pub fn get(path: &str) -> Option<Reply> {
    FILES.iter().find(|(known, ..)| *known == path).map(|(_, kind, body)| file(kind, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the page loads nothing from elsewhere and has nothing that its own policy forbids: no script or style
    /// within the HTML, no handler attributes, no HTML made of text.
    #[test]
    fn the_page_keeps_to_its_policy() {
        for (path, _, body) in FILES {
            let text = std::str::from_utf8(body).unwrap();
            for forbidden in ["https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "<style", " style="]
            {
                assert!(!text.contains(forbidden), "{path} has {forbidden}");
            }
            for line in text.lines().filter(|line| line.contains("http://")) {
                assert!(line.contains("http://www.w3.org/2000/svg"), "{path}: {line}");
            }
        }
        let html = std::str::from_utf8(FILES[0].2).unwrap();
        assert!(!html.contains(" on") || !html.contains("onclick"), "handlers are added by the script");
        assert_eq!(html.matches("<script").count(), 1);
        assert!(html.contains(r#"<script src="/app.js" defer></script>"#));
    }
}
