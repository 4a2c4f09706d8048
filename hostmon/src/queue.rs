//! Queues that are short but for bursts.

use std::collections::VecDeque;

/// Room that is never given back: more than a turn needs when nothing special happens.
const KEPT: usize = 256;

/// The next in the queue. What a burst of thousands took is given back at its end.
pub(crate) fn pop<T>(queue: &mut VecDeque<T>) -> Option<T> {
    let next = queue.pop_front();
    if next.is_none() && queue.capacity() > KEPT {
        queue.shrink_to(KEPT);
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_leaves_no_room_behind_and_a_short_queue_keeps_its_own() {
        let mut queue: VecDeque<u64> = (0..10_000).collect();
        assert!((0..10_000).all(|number| pop(&mut queue) == Some(number)));
        assert_eq!(pop(&mut queue), None);
        let kept = queue.capacity();
        assert!((1..=KEPT).contains(&kept), "{kept}");
        queue.push_back(1);
        assert_eq!((pop(&mut queue), pop(&mut queue), queue.capacity()), (Some(1), None, kept));
    }
}
