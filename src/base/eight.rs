//! Bytes looked at eight at a time, as one number. For what is asked for each line of each head: `std` compares names
//! byte by byte.

/// Times a byte: that byte eight times.
const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGH: u64 = ONES * 0x80;

/// The highest bit of each byte that is below `limit`, which is 128 at most; above the first of them, which is exact,
/// of others too.
pub fn below(bytes: u64, limit: u8) -> u64 {
    bytes.wrapping_sub(ONES * u64::from(limit)) & !bytes & HIGH
}

/// The highest bit of each byte that is this one; above the first of them, which is exact, of others too.
pub fn equal(bytes: u64, byte: u8) -> u64 {
    below(bytes ^ (ONES * u64::from(byte)), 1)
}

/// The highest bit of each byte that differs by more than the case of a letter.
pub fn unlike(one: u64, other: u64) -> u64 {
    let differ = one ^ other;
    let by_more = differ & !(ONES * 0x20);
    let by_more = (((by_more & !HIGH) + !HIGH) | by_more) & HIGH;
    let lower = (one | (ONES * 0x20)) & !HIGH;
    let from_a = lower + ONES * (0x80 - u64::from(b'a'));
    let past_z = lower + ONES * (0x7f - u64::from(b'z'));
    let letters = from_a & !past_z & !one & HIGH;
    by_more | ((differ & (ONES * 0x20)) << 2 & !letters)
}

/// Whether two texts are the same but for the case of ASCII letters.
pub fn is_like(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let (Some(last), Some(other_last)) = (one.last_chunk(), other.last_chunk()) else {
        return one.eq_ignore_ascii_case(other); // fewer than eight
    };
    let eights = one.chunks_exact(8).zip(other.chunks_exact(8));
    let differs = |(one, other): (&[u8], &[u8])| match (one.first_chunk(), other.first_chunk()) {
        (Some(one), Some(other)) => unlike(u64::from_le_bytes(*one), u64::from_le_bytes(*other)) != 0,
        _ => true, // all have eight
    };
    !eights.into_iter().any(differs) && !differs((last as &[u8; 8], other_last as &[u8; 8]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_are_alike_when_they_differ_in_the_case_of_a_letter_only() {
        for (one, other) in (0..=u8::MAX).flat_map(|one| (0..=u8::MAX).map(move |other| (one, other))) {
            for place in 0..8 {
                let with = |byte: u8| u64::from_le_bytes(std::array::from_fn(|at| if at == place { byte } else { b'A' }));
                let alike = unlike(with(one), with(other)) == 0;
                assert_eq!(alike, one.eq_ignore_ascii_case(&other), "{one} {other}");
            }
        }
    }

    proptest! {
        #[test]
        fn texts_are_alike_as_std_has_it(one in "[a-zA-Z@\\[`{ \u{e9}-]{0,20}", flips in any::<u32>(), other in "[aA@`]{0,20}") {
            let flipped: String = one
                .chars()
                .enumerate()
                .map(|(at, char)| if flips >> at & 1 == 1 { char.to_ascii_uppercase() } else { char })
                .collect();
            prop_assert!(is_like(one.as_bytes(), flipped.as_bytes()));
            prop_assert_eq!(is_like(one.as_bytes(), other.as_bytes()), one.eq_ignore_ascii_case(&other));
        }
    }
}
