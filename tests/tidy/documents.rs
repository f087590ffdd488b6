//! What documents promise that a program can check: one text in two languages stays one text, links lead somewhere, and
//! what is quoted of the programs is what they say.
//!
//! Not a parser of Markdown: fences, headings, code and links are told by the marks that documents here use.
//! In: the READMEs, the documents, and the sources' strings. Out: failures as of `tidy.rs`. Cost: one pass over each.

use std::path::Path;

use crate::sources::sources;
use crate::{no_complaints, root};

/// What two translations of one text have in common.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shape {
    /// Levels of the headings, in order.
    headings: Vec<usize>,
    /// Fenced blocks, in order.
    blocks: Vec<String>,
    /// Code within lines, sorted, for languages order words differently.
    code: Vec<String>,
    /// Where links lead, sorted, but for those from one language to the other.
    links: Vec<String>,
    /// Numbers outside code and links, as they are written, sorted.
    figures: Vec<String>,
}

impl Shape {
    /// Of a text whose translations are `languages`.
    fn of(text: &str, languages: &[&str]) -> Self {
        let mut shape = Self::default();
        let mut block: Option<String> = None;
        for line in text.lines() {
            match (&mut block, line.trim_start().starts_with("```")) {
                (None, true) => block = Some(String::new()),
                (Some(_), true) => shape.blocks.extend(block.take()),
                (Some(block), false) => *block = format!("{block}{line}\n"),
                (None, false) => shape.prose(line, languages),
            }
        }
        for list in [&mut shape.code, &mut shape.links, &mut shape.figures] {
            list.sort_unstable();
        }
        shape
    }

    fn prose(&mut self, line: &str, languages: &[&str]) {
        let level = line.bytes().take_while(|byte| *byte == b'#').count();
        self.headings.extend((level > 0).then_some(level));
        self.links.extend(links(line).filter(|link| !languages.contains(link)).map(str::to_owned));
        let mut rest = String::new();
        for (at, part) in line.split('`').enumerate() {
            if at % 2 == 1 { self.code.push(part.to_owned()) } else { rest += part }
        }
        for link in links(line) {
            rest = rest.replace(&format!("]({link})"), "]");
        }
        let numbers = rest.split(|it: char| !it.is_ascii_digit() && it != '.' && it != ',');
        let numbers = numbers.map(|number| number.trim_matches(['.', ','])).filter(|number| !number.is_empty());
        self.figures.extend(numbers.map(str::to_owned));
    }

    /// How another text differs, one sentence for each kind of part.
    fn differences(&self, other: &Self) -> Vec<String> {
        let parts = [
            ("headings", format!("{:?}", self.headings), format!("{:?}", other.headings)),
            ("blocks of code", self.blocks.concat(), other.blocks.concat()),
            ("code in lines", self.code.join(" · "), other.code.join(" · ")),
            ("links", self.links.join(" · "), other.links.join(" · ")),
            ("figures", self.figures.join(" · "), other.figures.join(" · ")),
        ];
        let differ = parts.into_iter().filter(|(_, one, two)| one != two);
        differ.map(|(part, one, two)| format!("the {part} differ:\n{one}\nand\n{two}")).collect()
    }
}

/// Where the links of a text lead.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link)
}

/// Links of a document in `folder` to files that are not there.
fn dead_links<'a>(text: &'a str, folder: &Path) -> Vec<&'a str> {
    let files = links(text).filter(|link| !link.contains("://") && !link.starts_with('#'));
    files.filter(|link| !folder.join(link.split('#').next().unwrap_or_default()).exists()).collect()
}

/// What a text quotes in “…”, in the pieces between its ellipses.
fn quotes(text: &str) -> impl Iterator<Item = &str> {
    let quoted = text.split('“').skip(1).filter_map(|rest| rest.split_once('”'));
    quoted.flat_map(|(quote, _)| quote.split('…')).map(str::trim).filter(|piece| !piece.is_empty())
}

/// Names of figures in a text: code of lower case words joined by underscores, without the metrics' prefix.
fn figure_names(text: &str) -> impl Iterator<Item = &str> {
    let code = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let names = code.filter(|name| name.contains('_') && name.bytes().all(|it| it.is_ascii_lowercase() || it == b'_'));
    names.map(|name| name.strip_prefix("echomesh_").unwrap_or(name))
}

/// A source with its strings on one line each, as the program has them.
fn joined_strings(source: &str) -> String {
    let mut lines = source.split("\\\n");
    let first = lines.next().unwrap_or_default().to_owned();
    lines.fold(first, |text, line| text + line.trim_start())
}

/// The README in all its languages.
const READMES: [&str; 2] = ["README.md", "README.zh-CN.md"];

fn document(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Goal: who reads the README in another language reads the same.
#[test]
fn readmes_are_in_step() {
    let [one, two] = READMES.map(|path| Shape::of(&document(path), &READMES));
    let [english, chinese] = READMES;
    assert!(
        document(english).contains(&format!("]({chinese})")) && document(chinese).contains(&format!("]({english})"))
    );
    let complaints: Vec<String> = one.differences(&two).into_iter().map(|it| format!("in {READMES:?}, {it}")).collect();
    no_complaints(&complaints);
}

/// Goal: a link of a document leads to a file that is there.
#[test]
fn links_of_documents_lead_somewhere() {
    let mut complaints = Vec::new();
    for folder in ["", "docs"] {
        let folder = root().join(folder);
        let files = std::fs::read_dir(&folder).expect("the folder is there").map(|file| file.expect("readable").path());
        for path in files.filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
            let text = std::fs::read_to_string(&path).expect("a text");
            complaints.extend(
                dead_links(&text, &folder).iter().map(|link| format!("{}: {link} is not there", path.display())),
            );
        }
    }
    no_complaints(&complaints);
}

/// Goal: who searches docs/TROUBLE.md for what the program said finds it, and the figures have the names it gives.
#[test]
fn trouble_quotes_the_programs() {
    let trouble = document("docs/TROUBLE.md");
    let said: String = sources(root()).iter().map(|source| joined_strings(&source.text)).collect();
    // The list of figures is kept up to date by a test of the server.
    let figures = document("docs/METRICS.md");
    let is_said = |name: &str| {
        let mut spelt = [name.to_owned(), format!("echomesh_{name}"), format!("echomesh_{name}_total")].into_iter();
        spelt.any(|name| figures.contains(&format!("`{name}`")))
    };
    let mut complaints = Vec::new();
    for piece in quotes(&trouble).filter(|piece| *piece != "quotes" && !said.contains(piece)) {
        complaints.push(format!("docs/TROUBLE.md quotes “{piece}”, which no program says"));
    }
    for name in figure_names(&trouble).filter(|name| !is_said(name)) {
        complaints.push(format!("docs/TROUBLE.md names the figure `{name}`, which is none"));
    }
    no_complaints(&complaints);
}

/// Goal: the comparisons above see what they should.
#[test]
fn documents_are_read_as_meant() {
    let shape = |text| Shape::of(text, &["other.md"]);
    let one = shape("# A\n\nOn 5.10 `b` is [c](d.md), 3,000. [O](other.md)\n```\nls 1\n```\n");
    let two = shape("# 甲\n\n[丙](d.md)为 3,000，`b`，5.10。\n```\nls 1\n```\n");
    assert_eq!(one.differences(&two), Vec::<String>::new());
    for other in [
        "## A\n\nOn 5.10 `b` is [c](d.md), 3,000.\n```\nls 1\n```\n",
        "# A\n\nOn 5.10 `b` is [c](d.md), 3,000.\n```\nls 2\n```\n",
        "# A\n\nOn 5.10 `e` is [c](d.md), 3,000.\n```\nls 1\n```\n",
        "# A\n\nOn 5.10 `b` is [c](e.md), 3,000.\n```\nls 1\n```\n",
        "# A\n\nOn 5.11 `b` is [c](d.md), 3,000.\n```\nls 1\n```\n",
    ] {
        assert_eq!(one.differences(&shape(other)).len(), 1, "{other}");
    }
    assert_eq!(dead_links("[a](tidy.rs#x) [b](none.md) [c](https://d) [e](#f)", &root().join("tests")), ["none.md"]);
    assert_eq!(quotes("“a … b” c “d”").collect::<Vec<_>>(), ["a", "b", "d"]);
    assert_eq!(figure_names("`a_b` `echomesh_c` `--d_e` `f`").collect::<Vec<_>>(), ["a_b", "c"]);
    assert_eq!(joined_strings("\"a \\\n   b\""), "\"a b\"");
}
