//! Chance, the same for the same seed.

use std::collections::VecDeque;

/// SplitMix64 (Steele, Lea, Flood 2014), behind the octets of an input where there is one.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
    octets: VecDeque<u8>,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self {
            state: seed.wrapping_mul(0x2545_f491_4f6c_dd1d),
            octets: VecDeque::new(),
        }
    }

    /// What a fuzzer decides: each octet one decision, the rest by the seed 0.
    #[allow(dead_code, reason = "fuzz/src/smtp_session has it")]
    pub fn of(octets: &[u8]) -> Self {
        let octets = octets.iter().copied().collect();
        Self {
            octets,
            ..Self::new(0)
        }
    }

    pub fn next(&mut self) -> u64 {
        if let Some(octet) = self.octets.pop_front() {
            return octet.into();
        }
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `bound` - 1.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// Once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}
