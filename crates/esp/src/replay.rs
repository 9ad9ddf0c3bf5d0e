//! The anti-replay window (RFC 4303 section 3.4.3).
//!
//! A ring of 64-bit words (as RFC 6479 describes it): moving the window clears
//! whole words and shifts nothing. Numbers have 64 bits; without extended
//! sequence numbers the upper half is always 0.

const WORD_BITS: u64 = u64::BITS as u64;
const WORDS: u64 = 32;

/// Sequence numbers below the highest one by this much or more are refused.
///
/// One word of the ring is always the one being filled, so the window is one
/// word shorter than the ring.
pub const WINDOW: u64 = (WORDS - 1) * WORD_BITS;

/// Which sequence numbers of an SA were received.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    /// The highest sequence number that was authentic; 0 before the first.
    highest: u64,
    seen: [u64; WORDS as usize],
}

/// The sequence number was received before, is too old, or is 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("replayed sequence number")]
pub struct Replayed;

impl Default for ReplayWindow {
    fn default() -> Self {
        Self { highest: 0, seen: [0; WORDS as usize] }
    }
}

impl ReplayWindow {
    /// Whether a packet with this number is worth opening. Changes nothing:
    /// the number is not authentic yet.
    ///
    /// # Errors
    /// [`Replayed`] when it is not.
    pub fn check(&self, sequence: u64) -> Result<(), Replayed> {
        let is_too_old = self.highest.saturating_sub(sequence) >= WINDOW;
        if sequence == 0 || is_too_old {
            return Err(Replayed);
        }
        if sequence > self.highest {
            return Ok(());
        }
        let word = self.seen.get(word_of(sequence)).ok_or(Replayed)?;
        if word & bit_of(sequence) == 0 { Ok(()) } else { Err(Replayed) }
    }

    /// The whole number of a packet that holds its lower half: the one within
    /// or next behind the window (RFC 4303 appendix A2.2).
    ///
    /// # Errors
    /// [`Replayed`] when it would lie before the first packet, or behind the last.
    pub fn extend(&self, low: u32) -> Result<u64, Replayed> {
        let (top_high, top_low) = (self.highest >> 32, self.highest as u32);
        let bottom = top_low.wrapping_sub(WINDOW as u32 - 1);
        let window_is_in_one_half = u64::from(top_low) >= WINDOW - 1;
        let high = match (window_is_in_one_half, low >= bottom) {
            (true, true) | (false, false) => Some(top_high),
            (true, false) => top_high.checked_add(1).filter(|high| *high <= u64::from(u32::MAX)),
            (false, true) => top_high.checked_sub(1),
        };
        Ok(high.ok_or(Replayed)? << 32 | u64::from(low))
    }

    /// Takes the number of an authentic packet; `true` if it is the highest so far.
    ///
    /// # Errors
    /// [`Replayed`] when the number is not acceptable any more.
    pub fn record(&mut self, sequence: u64) -> Result<bool, Replayed> {
        self.check(sequence)?;
        let is_highest = sequence > self.highest;
        if is_highest {
            self.advance_to(sequence);
        }
        if let Some(word) = self.seen.get_mut(word_of(sequence)) {
            *word |= bit_of(sequence);
        }
        Ok(is_highest)
    }

    fn advance_to(&mut self, sequence: u64) {
        let (old_word, new_word) = (self.highest / WORD_BITS, sequence / WORD_BITS);
        let steps = (new_word - old_word).min(WORDS);
        for word in new_word + 1 - steps..=new_word {
            if let Some(slot) = self.seen.get_mut((word % WORDS) as usize) {
                *slot = 0;
            }
        }
        self.highest = sequence;
    }
}

fn word_of(sequence: u64) -> usize {
    ((sequence / WORD_BITS) % WORDS) as usize
}

fn bit_of(sequence: u64) -> u64 {
    1 << (sequence % WORD_BITS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The definition, without any economy.
    #[derive(Default)]
    struct Model {
        highest: u64,
        seen: BTreeSet<u64>,
    }

    impl Model {
        fn record(&mut self, sequence: u64) -> bool {
            let fresh = sequence != 0
                && u128::from(sequence) + u128::from(WINDOW) > u128::from(self.highest)
                && self.seen.insert(sequence);
            if fresh {
                self.highest = self.highest.max(sequence);
            }
            fresh
        }
    }

    #[test]
    fn a_number_is_taken_once() {
        let mut window = ReplayWindow::default();
        assert_eq!(window.record(1), Ok(true));
        assert_eq!(window.record(1), Err(Replayed));
        assert_eq!(window.check(1), Err(Replayed));
    }

    #[test]
    fn zero_is_never_taken() {
        assert_eq!(ReplayWindow::default().record(0), Err(Replayed));
    }

    #[test]
    fn the_left_edge_is_exact() {
        let mut window = ReplayWindow::default();
        window.record(10_000).unwrap();
        assert_eq!(window.record(10_000 - WINDOW), Err(Replayed));
        assert_eq!(window.record(10_000 - WINDOW + 1), Ok(false));
    }

    #[test]
    fn checking_changes_nothing() {
        let mut window = ReplayWindow::default();
        window.check(u64::MAX).unwrap();
        assert_eq!(window.record(1), Ok(true));
    }

    #[test]
    fn the_last_number_of_all_is_taken() {
        let mut window = ReplayWindow::default();
        assert_eq!(window.record(u64::MAX), Ok(true));
        assert_eq!(window.record(u64::MAX - 1), Ok(false));
        assert_eq!(window.record(u64::MAX), Err(Replayed));
    }

    const _: () = assert!(WINDOW >= 1024, "the least the project promises");

    fn arrivals() -> impl Strategy<Value = Vec<u64>> {
        let near = 0u64..6_000;
        let far = prop_oneof![any::<u64>(), (u64::MAX - 5_000)..=u64::MAX];
        let step = prop_oneof![8 => near, 1 => far];
        prop::collection::vec(step, 1..400)
    }

    /// Mostly ascending with disorder, duplicates and jumps, as on a network.
    fn walk() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec((0u64..3_000, -2_500i64..2_500), 1..400).prop_map(|steps| {
            let mut at = 0u64;
            steps
                .into_iter()
                .map(|(forward, jitter)| {
                    at = at.saturating_add(forward / 20);
                    at.saturating_add_signed(jitter)
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn the_window_agrees_with_the_model(sequence in prop_oneof![arrivals(), walk()]) {
            let (mut window, mut model) = (ReplayWindow::default(), Model::default());
            for number in sequence {
                let checked = window.check(number).is_ok();
                let taken = window.record(number).is_ok();
                prop_assert_eq!(checked, taken);
                prop_assert_eq!(taken, model.record(number), "at {}", number);
            }
        }

        /// A packet less than half the numbers away from the highest is known again.
        #[test]
        fn the_upper_half_is_found_again(
            start in 1u64..1 << 40,
            back in 0..WINDOW,
            forth in 0u64..(1 << 32) - WINDOW,
        ) {
            let mut window = ReplayWindow::default();
            window.record(start).unwrap();
            let older = start.saturating_sub(back);
            prop_assert_eq!(window.extend(older as u32), Ok(older));
            prop_assert_eq!(window.extend((start + forth) as u32), Ok(start + forth));
        }
    }

    #[test]
    fn before_the_first_packet_there_is_nothing() {
        assert_eq!(ReplayWindow::default().extend(u32::MAX), Err(Replayed));
        assert_eq!(ReplayWindow::default().extend(1), Ok(1));
    }

    #[test]
    fn behind_the_last_number_there_is_nothing() {
        let mut window = ReplayWindow::default();
        window.record(u64::MAX).unwrap();
        assert_eq!(window.extend(5), Err(Replayed));
        assert_eq!(window.extend(u32::MAX), Ok(u64::MAX));
    }
}
