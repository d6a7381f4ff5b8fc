//! Lists of numbers as the kernel writes them: `0-3,8`.

/// The numbers of a list. What is not a number is left out; a range of more than 65 536 is cut there.
pub(super) fn list(text: &str) -> Vec<u32> {
    const LONGEST: u32 = 65_536;
    let parts = text.trim().split(',').filter_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<u32>().ok()?, last.trim().parse::<u32>().ok()?);
        Some(first..=last.min(first.saturating_add(LONGEST)))
    });
    parts.flatten().take(LONGEST as usize).collect()
}

/// The same numbers as a list: `0-3,8`.
pub(super) fn text(numbers: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*number) => *last = *number,
            _ => ranges.push((*number, *number)),
        }
    }
    let words = ranges.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    words.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_are_the_kernels() {
        assert_eq!(list("0-3,8\n"), [0, 1, 2, 3, 8]);
        assert_eq!(list(""), [] as [u32; 0]);
        assert_eq!(list("(null)"), [] as [u32; 0]);
        assert_eq!(text(&[0, 1, 2, 3, 8, 10, 11]), "0-3,8,10-11");
        assert_eq!(list("0-4294967295").len(), 65_536);
    }

    proptest! {
        #[test]
        fn any_text_is_read(words in ".*") {
            list(&words);
        }

        #[test]
        fn a_list_reads_back(numbers in proptest::collection::btree_set(0u32..5000, 0..50)) {
            let numbers: Vec<u32> = numbers.into_iter().collect();
            prop_assert_eq!(list(&text(&numbers)), numbers);
        }
    }
}
