//! Pages of a list.

/// Removes the rows beyond `limit` from the rows of a query that fetched one more than the page has. Returns
/// the position of the page's last row if another page follows.
pub fn truncate_page<T, P>(rows: &mut Vec<T>, limit: u32, position: impl FnOnce(&T) -> P) -> Option<P> {
    let has_more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    rows.last().filter(|_| has_more).map(position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_page_that_another_one_follows_has_a_next_position() {
        for (fetched, next) in [(0, None), (1, None), (2, None), (3, Some(20))] {
            let mut rows = vec![10, 20, 30];
            rows.truncate(fetched);
            assert_eq!(truncate_page(&mut rows, 2, |row| *row), next, "{fetched}");
            assert_eq!(rows.len(), fetched.min(2));
        }
    }
}
