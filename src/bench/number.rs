//! Numbers as people read them.

/// With three digits that count, and none behind the point from 100 on.
pub fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        size if size >= 0.1 => format!("{value:.3}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_count() {
        for (value, text) in [(0.0, "0"), (0.01234, "0.0123"), (0.5, "0.500"), (12345.6, "12346")] {
            assert_eq!(number(value), text);
        }
    }
}
