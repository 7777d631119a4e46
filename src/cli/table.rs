//! Tables of plain text.

/// Which side of a column its cells keep to.
#[derive(Clone, Copy)]
pub(super) enum Align {
    Left,
    Right,
}

/// Lines with the headings and the rows under each other, two spaces between columns, each line
/// ended by a newline. Every row has as many cells as there are headings.
pub(super) fn render(headings: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let mut lines = vec![headings.iter().map(|(text, _)| (*text).to_owned()).collect()];
    lines.extend(rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()));
    let width = |column: usize| {
        lines.iter().map(|line: &Vec<String>| line[column].chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..headings.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(headings).zip(&widths);
        let padded = cells.map(|((cell, (_, align)), width)| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        text += padded.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// The same without control characters, which would have the terminal do things.
fn printable(cell: &str) -> String {
    cell.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_control_characters_are_kept_off_the_terminal() {
        let rows = [
            vec!["server-1".to_owned(), "7".to_owned(), "healthy".to_owned()],
            vec!["é\u{1b}[2J".to_owned(), "1234".to_owned(), String::new()],
        ];
        let headings = [("NAME", Align::Left), ("PID", Align::Right), ("STATE", Align::Left)];
        assert_eq!(
            render(&headings, &rows),
            "NAME       PID  STATE\nserver-1     7  healthy\né\u{fffd}[2J     1234\n"
        );
    }
}
