//! What becomes of the frames that a test sends: a wire accounts for each, so a test knows when nothing more can come.

use vmpulse_inject::wait;
use vmpulse_inject::wire::Way;
use vmpulse_inject::wire::counts::Counts;
use vmpulse_inject::wire::files::Told;

use super::{Bed, FRAMES, PATIENCE, frame, run};

/// The classes whose frames pass through a wire, in the order in which these are asked, with their stages.
const WIRES: [(&str, u8); 5] =
    [("path-loss", 1), ("path-duplicate", 2), ("path-corrupt", 3), ("path-delay", 4), ("wire", 5)];

/// What a test expects of a way that is cut by rules: these count nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passing {
    /// What the wires say, or everything where there is none.
    Counted,
    /// Nothing: rules drop frames while they are sent, so there is nothing to wait for.
    Dropped,
}

impl Bed {
    /// Sends both ways, and takes what comes until every frame is accounted for; the numbers that came up and down, in order.
    pub(crate) fn exchange(&self) -> [Vec<u32>; 2] {
        self.exchange_by([Passing::Counted; 2])
    }

    /// The same where rules are in the way.
    pub(crate) fn exchange_by(&self, passing: [Passing; 2]) -> [Vec<u32>; 2] {
        let before = self.counts();
        let mut came = self.send_all();
        wait::until("every frame to be accounted for", PATIENCE, || {
            self.take(&mut came);
            let due = due(&before, &self.counts(), passing);
            Ok((0..2).all(|way| due[way] == Some(came[way].len() as u64)))
        })
        .unwrap_or_else(|error| {
            let due = due(&before, &self.counts(), passing);
            panic!("{error} came {:?}, due {due:?}", came.each_ref().map(Vec::len))
        });
        came
    }

    /// Sends both ways; what came meanwhile.
    pub(crate) fn send_all(&self) -> [Vec<u32>; 2] {
        let mut came = [Vec::new(), Vec::new()];
        for number in 0..FRAMES {
            let _ = self.guests.send(&frame(number));
            let _ = self.monitor.send(&frame(number));
            self.take(&mut came);
        }
        came
    }

    /// Takes what comes until there are so many.
    pub(crate) fn receive(&self, due: [usize; 2]) -> [Vec<u32>; 2] {
        let mut came = [Vec::new(), Vec::new()];
        wait::until("so many frames", PATIENCE, || {
            self.take(&mut came);
            Ok((0..2).all(|way| came[way].len() >= due[way]))
        })
        .unwrap();
        came
    }

    /// The accounts of the wires that are in the path, up and down, in their order.
    fn counts(&self) -> [Vec<Counts>; 2] {
        let links = run("ip", "-o link show");
        let mut all = [Vec::new(), Vec::new()];
        for (class, stage) in WIRES {
            // One that was killed leaves its file behind.
            let Ok(text) = std::fs::read(self.state().join(format!("{class}.counts"))) else { continue };
            if !links.contains(&format!("vi-{stage}")) {
                continue;
            }
            let told: Told = serde_json::from_slice(&text).unwrap();
            for end in told.ends {
                all[usize::from(end.way == Way::Down)].push(end.counts);
            }
        }
        all
    }
}

/// How many frames are to come in all, once every one that was sent is accounted for.
fn due(before: &[Vec<Counts>; 2], after: &[Vec<Counts>; 2], passing: [Passing; 2]) -> [Option<u64>; 2] {
    std::array::from_fn(|way| match passing[way] {
        Passing::Dropped => Some(0),
        Passing::Counted => through(&before[way], &after[way]),
    })
}

/// What a wire passes the next one takes.
fn through(before: &[Counts], after: &[Counts]) -> Option<u64> {
    before.iter().zip(after).try_fold(u64::from(FRAMES), |sent, (before, after)| {
        let settled = after.accounted() && after.waiting == 0 && after.taken - before.taken == sent;
        settled.then(|| after.passed - before.passed - (after.refused - before.refused))
    })
}
