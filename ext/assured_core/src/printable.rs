//! What may stand in a log line. Payloads, registry entries and the words of servers hold whatever somebody has put
//! there: line breaks and terminal codes that forge lines, passwords, or megabytes.

use std::fmt::Write;

/// Characters of one name or reason.
const MOST: usize = 200;

/// Characters of a whole line.
const MOST_OF_A_LINE: usize = 2_000;

/// A name from Redis, on one line and cut.
pub fn name(bytes: &[u8]) -> String {
    // Whatever its length, no more of it is looked at than can be shown.
    let start = &bytes[..bytes.len().min(4 * MOST + 4)];
    let mut shown = cut(&String::from_utf8_lossy(start), MOST);
    if start.len() < bytes.len() {
        let _ = write!(shown, " ({} bytes)", bytes.len());
    }
    shown
}

/// A whole line: everything that is logged goes through here last.
pub fn line(text: &str) -> String {
    cut(&hide_logins(text), MOST_OF_A_LINE)
}

fn cut(text: &str, most: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(most));
    for (count, character) in text.chars().enumerate() {
        if count == most {
            shown.push('…');
            break;
        }
        match is_plain(character) {
            true => shown.push(character),
            false => shown.extend(character.escape_default()),
        }
    }
    shown
}

/// Neither a control character nor one that is not seen and changes how others are read: those that turn the direction
/// of text, separate lines, join or hide.
fn is_plain(character: char) -> bool {
    !character.is_control()
        && !matches!(
            character,
            '\u{ad}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// A URL is shown without who logs in, in whose place it may stand: as the name of a host, for example.
fn hide_logins(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, login) = rest.split_at(at + 3);
        shown.push_str(before);
        // A password that is not encoded may hold any character but a space.
        let end = login.find(char::is_whitespace).unwrap_or(login.len());
        rest = match login[..end].rfind('@') {
            Some(at) => {
                shown.push('…');
                &login[at..]
            }
            None => login,
        };
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_plain_stays_as_it_is() {
        for text in ["b4a577edbccf1d805744efa9", "Jobs::Übung", "host:12:ab~c.1", "日本 🎉", r#"a "b" \ 'c'"#]
        {
            assert_eq!(name(text.as_bytes()), text);
            assert_eq!(line(text), text);
        }
    }

    #[test]
    fn what_forges_lines_is_escaped() {
        assert_eq!(name(b"a\nE, b\r\x1b[31m\x00\x7f"), r"a\nE, b\r\u{1b}[31m\u{0}\u{7f}");
        assert_eq!(name("\u{202e}x\u{2028}\u{85}\u{200b}".as_bytes()), r"\u{202e}x\u{2028}\u{85}\u{200b}");
        assert_eq!(name(b"\xffx\xc3"), "\u{fffd}x\u{fffd}");
        assert_eq!(line(&name(b"a\nb")), r"a\nb", "what is escaped stays so");
    }

    #[test]
    fn what_floods_is_cut() {
        let shown = name(&b"x".repeat(10_000));
        assert!(shown.starts_with(&"x".repeat(MOST)) && shown.ends_with("… (10000 bytes)"), "{shown}");
        assert!(line(&"\n".repeat(1_000_000)).chars().count() <= 2 * MOST_OF_A_LINE + 1);
    }

    #[test]
    fn a_url_is_shown_without_its_login() {
        assert_eq!(line("no host redis://u:p@ss:w/rd@host:1/0 (x@y)"), "no host redis://…@host:1/0 (x@y)");
        assert_eq!(line("redis://host:1/0 and rediss://:p@h"), "redis://host:1/0 and rediss://…@h");
    }
}
