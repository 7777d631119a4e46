//! Which items a run asks for.

use super::LoadError;
use super::slots::with_query;
use crate::wire::Key;

/// Where the built-in sample lists its items.
pub(super) const LIST: &str = "/list.json";
/// The sample's item that changes every second: it would be an answer of another kind.
const CHANGES: &str = "/now.json";
/// Items that are taken from a list have at most so many bytes: a run that is not about large
/// items should not spend its time on fetching them first. A file of keys may name any.
pub(super) const MAX_LISTED_BYTES: u64 = 64 * 1024;
/// Items of a list that are looked at, at the most.
const MAX_LISTED: usize = 1_000;

/// The keys in a list of the target's.
pub(super) fn parse_list(json: &[u8]) -> Result<Vec<Key>, LoadError> {
    let no_list = |why: &str| {
        LoadError::new(&format!(
            "the target's {LIST} is no list of keys ({why}): name some by --keys FILE"
        ))
    };
    let texts: Vec<String> =
        serde_json::from_slice(json).map_err(|why| no_list(&why.to_string()))?;
    let keys = texts.iter().filter(|text| *text != CHANGES).take(MAX_LISTED);
    let keys = keys.map(|text| text.parse()).collect::<Result<Vec<Key>, _>>();
    keys.map_err(|why| no_list(&why.to_string()))
}

/// As many keys as are wanted, from items that the target lists with their lengths: small ones,
/// and where they are too few, the same ones again, told apart by a query.
pub(super) fn choose(listed: &[(Key, u64)], wanted: usize) -> Result<Vec<Key>, LoadError> {
    let small: Vec<_> = listed
        .iter()
        .filter(|(_, length)| *length <= MAX_LISTED_BYTES)
        .map(|(key, _)| key)
        .collect();
    if small.is_empty() {
        return Err(LoadError::new(&format!(
            "the target lists no item of at most {MAX_LISTED_BYTES} bytes: name some by --keys FILE"
        )));
    }
    let key = |number: usize| {
        let key = small[number % small.len()];
        match number / small.len() {
            0 => Some(key.clone()),
            round => with_query(key, round),
        }
    };
    let keys: Option<Vec<_>> = (0..wanted).map(key).collect();
    keys.ok_or_else(|| LoadError::new("the target lists keys that are too long for a query"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn listed() -> Vec<(Key, u64)> {
        let item = |(key, length): &(&str, u64)| (key.parse().unwrap(), *length);
        [("/", 900), ("/items/1k.bin", 1_024), ("/items/10m.bin", 10 << 20)]
            .iter()
            .map(item)
            .collect()
    }

    #[test]
    fn small_items_are_taken_and_taken_again_with_a_query() {
        let text = |wanted| {
            let keys = choose(&listed(), wanted).unwrap();
            keys.iter().map(Key::to_string).collect::<Vec<_>>()
        };
        assert_eq!(text(1), ["/"]);
        assert_eq!(text(5), ["/", "/items/1k.bin", "/?1", "/items/1k.bin?1", "/?2"]);
        let many: HashSet<_> = choose(&listed(), 4_096).unwrap().into_iter().collect();
        assert_eq!(many.len(), 4_096, "no key stands for two slots");
        assert!(choose(&listed()[2..], 1).is_err());
    }

    #[test]
    fn the_list_is_read_without_what_changes_by_itself() {
        let keys = parse_list(b"[\"/\", \"/now.json\", \"/list.json\"]").unwrap();
        assert_eq!(keys, ["/".parse().unwrap(), "/list.json".parse::<Key>().unwrap()]);
        for bad in [&b"<html>"[..], b"{}", b"[\"relative\"]", b"[1]"] {
            assert!(parse_list(bad).unwrap_err().to_string().contains("--keys FILE"));
        }
    }
}
