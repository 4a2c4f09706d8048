//! Named random streams of one seed: what one part of the world draws does not change what another one gets.

/// A stream for `name`, different for every seed and every name.
#[must_use]
pub fn stream(seed: u64, name: &str) -> fastrand::Rng {
    // FNV-1a over the name, then one round of splitmix64 with the seed.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let mut mixed = hash.wrapping_add(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    fastrand::Rng::with_seed(mixed ^ (mixed >> 31))
}

/// 32 bytes, where the real daemons ask the kernel.
pub(crate) fn entropy(random: &mut fastrand::Rng) -> [u8; 32] {
    let mut bytes = [0; 32];
    random.fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::stream;

    #[test]
    fn streams_depend_on_both_seed_and_name_and_on_nothing_else() {
        let first = |seed, name| stream(seed, name).u64(..);
        assert_eq!(first(1, "network"), first(1, "network"));
        assert_ne!(first(1, "network"), first(2, "network"));
        assert_ne!(first(1, "network"), first(1, "store"));
    }
}
