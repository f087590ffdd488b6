//! The few pieces of HTML the page is made of; every text from outside goes through [`escape`].
//!
//! Not a template language: tables, definition lists, and nothing that runs.
//! In: texts. Out: HTML, valid inside `<body>`, attribute values always in double quotes.

use std::fmt::Write;

/// Text that is safe between tags and in a quoted attribute.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Control characters have no place in a page, and some are not even valid in HTML.
            control if control.is_control() => safe.push(' '),
            other => safe.push(other),
        }
    }
    safe
}

/// The same for sentences: a number and its unit stay on one line.
pub fn prose(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for (at, word) in escape(text).split(' ').enumerate() {
        let unit = ["µs", "ms", "s", "%", "KiB", "MiB"]
            .iter()
            .any(|unit| word.trim_end_matches([',', ';', '.', ')']) == *unit);
        if at > 0 {
            let number = safe.ends_with(|before: char| before.is_ascii_digit());
            safe.push_str(if unit && number { "&nbsp;" } else { " " });
        }
        safe.push_str(word);
    }
    safe
}

/// One cell of a table.
pub enum Cell {
    /// Left-aligned.
    Text(String),
    /// Right-aligned.
    Number(String),
    /// Right-aligned over a bar of this share of the column's width.
    Bar(String, f64),
    /// Something not as it should be.
    Bad(String),
}

impl Cell {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub fn number(text: impl Into<String>) -> Self {
        Self::Number(text.into())
    }

    fn html(&self) -> String {
        match self {
            Self::Text(text) => format!("<td>{}</td>", escape(text)),
            Self::Number(text) => format!("<td class=\"n\">{}</td>", escape(text)),
            Self::Bad(text) => format!("<td class=\"n bad\">{}</td>", escape(text)),
            Self::Bar(text, share) => {
                let width = if share.is_finite() { share.clamp(0.0, 1.0) * 100.0 } else { 0.0 };
                format!("<td class=\"n bar\">{}<i><b style=\"width:{width:.1}%\"></b></i></td>", escape(text))
            }
        }
    }
}

/// A table that scrolls sideways on its own where the page is narrower. A heading that begins with
/// `<` is left-aligned (and the mark is not shown).
pub fn table(headings: &[&str], rows: &[Vec<Cell>]) -> String {
    let mut html = String::from("<div class=\"wide\"><table><thead><tr>");
    for heading in headings {
        // Writing to a String does not fail.
        let _ = match heading.strip_prefix('<') {
            Some(left) => write!(html, "<th>{}</th>", escape(left)),
            None => write!(html, "<th class=\"n\">{}</th>", escape(heading)),
        };
    }
    html.push_str("</tr></thead><tbody>");
    for row in rows {
        html.push_str("<tr>");
        row.iter().for_each(|cell| html.push_str(&cell.html()));
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div>");
    html
}

/// A plot or several with a caption.
pub fn figure(title: &str, svg: &str, legend: &str) -> String {
    format!("<figure><figcaption>{}</figcaption>{svg}{legend}</figure>", escape(title))
}

/// A section under a heading that can be linked to.
pub fn section(id: &str, title: &str, body: &str) -> String {
    format!("<section id=\"{}\"><h2>{}</h2>{body}</section>", escape(id), escape(title))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a unit is never alone at the begin of a line.
    #[test]
    fn units_stay_with_their_numbers() {
        assert_eq!(prose("loss 0.1 %, p99 <20 ms; s of it"), "loss 0.1&nbsp;%, p99 &lt;20&nbsp;ms; s of it");
    }

    /// Goal: no text from outside can become markup.
    #[test]
    fn markup_characters_are_escaped() {
        assert_eq!(escape("<b a=\"x\" b='y'>&\u{1b}[0m"), "&lt;b a=&quot;x&quot; b=&#39;y&#39;&gt;&amp; [0m");
        let html = table(&["<who", "how many"], &[vec![Cell::text("<i>"), Cell::Bar("3".to_owned(), f64::NAN)]]);
        assert!(html.contains("<th>who</th>") && html.contains("<td>&lt;i&gt;</td>"));
        assert!(html.contains("width:0.0%"));
    }
}
