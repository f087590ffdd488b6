//! Text in rows: as wide as the screen has columns for, by words where it can.
//!
//! Cost: one pass over the text.

use unicode_width::UnicodeWidthChar;

/// Columns of a text.
pub fn width(text: &str) -> usize {
    text.chars().map(|character| character.width().unwrap_or(0)).sum()
}

/// As much of a text as fits, with a sign if that is not all.
pub fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut used = 1;
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used > columns {
            break;
        }
        cut.push(character);
    }
    cut.push('~');
    cut
}

/// A text with blanks after it, or cut, so that it has exactly these columns.
pub fn fill(text: &str, columns: usize) -> String {
    let mut filled = cut(text, columns);
    filled.extend(std::iter::repeat_n(' ', columns.saturating_sub(width(&filled))));
    filled
}

/// The rows of a text: the first has room for fewer columns than the others.
pub fn rows(text: &str, first: usize, others: usize) -> Vec<String> {
    let mut rows = vec![String::new()];
    let (mut room, mut used) = (first.max(1), 0);
    for word in text.split_inclusive(' ') {
        let bare = width(word.trim_end());
        if used + bare > room && used > 0 {
            rows.push(String::new());
            (room, used) = (others.max(1), 0);
        }
        for character in word.chars() {
            let columns = character.width().unwrap_or(0);
            // The blank at the end of a row needs none.
            if used + columns > room && character != ' ' {
                rows.push(String::new());
                (room, used) = (others.max(1), 0);
            }
            if used + columns <= room {
                rows.last_mut().expect("there is one").push(character);
                used += columns;
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: no row is wider than it may be, words stay whole where they fit, and nothing is lost.
    #[test]
    fn text_goes_into_rows() {
        assert_eq!(rows("the quick brown fox", 9, 12), ["the quick", "brown fox"]);
        assert_eq!(rows("abcdefgh ij", 3, 4), ["abc", "defg", "h ij"]);
        assert_eq!(rows("", 5, 5), [""]);
        assert_eq!(rows("世界世界", 5, 3), ["世界", "世", "界"]);
        for text in ["a bb ccc dddd eeeee ffffff", "xxxxxxxxxxxxxxxxxxxxxxxxxxxx", "a 世界 b\u{301} c"] {
            for columns in 2..20 {
                let rows = rows(text, columns, columns);
                assert!(rows.iter().all(|row| width(row.trim_end()) <= columns), "{columns} {rows:?}");
                let all: String = rows.concat();
                assert_eq!(all.replace(' ', ""), text.replace(' ', ""));
            }
        }
    }

    /// Goal: a name is cut where there is no room, and says so.
    #[test]
    fn text_is_cut_and_filled() {
        assert_eq!(
            (cut("hello", 5).as_str(), cut("hello!", 5).as_str(), cut("世界", 3).as_str()),
            ("hello", "hell~", "世~")
        );
        assert_eq!(fill("ab", 4), "ab  ");
    }
}
