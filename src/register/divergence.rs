//! Whether what mirrors something outside is equal to it.
//!
//! A state that keeps a copy of what is outside (files, a service, a device) keeps a [`Mirror`] beside it. It says `InSync`
//! for one reason alone: what was begun as a comparison, after all that was in doubt, has ended and found no difference.
//!
//! | from \ upon | [`diverge`](Mirror::diverge) | [`begin`](Mirror::begin) | [`equal`](Mirror::equal) | [`different`](Mirror::different) |
//! |---|---|---|---|---|
//! | `Diverged` | `Diverged`, as long as before | `Reconciling` | – | `Diverged`, as long as before |
//! | `Reconciling` | `Diverged`, as long as before | `Reconciling`, another | **`InSync`** if it is the comparison that was begun last, else – | `Diverged`, as long as before |
//! | `InSync` | `Diverged` | `InSync`, being compared | – | `Diverged` |
//!
//! (–: nothing changes.) So a comparison does not count when it was begun before the newest doubt, when another was begun since, or
//! when nobody knows of its beginning.
//!
//! It is a pure value, for reducers: no clock, and no access to what is outside. `At` is when something was, as the host tells
//! it: the [`Stamp`](crate::Stamp) of an event, a turn, a time that came with an event. `What` is why.

/// Whether a mirror is equal to what it mirrors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub enum Divergence<At, What> {
    /// A comparison found the two equal, and nothing has put that into doubt since.
    InSync,
    /// They differ, or may.
    Diverged {
        /// Since when nobody can say that they are equal.
        since: At,
        /// Why; the newest reason when there were several.
        what: What,
    },
    /// They are being compared.
    Reconciling {
        /// Since when nobody can say that they are equal.
        since: At,
        /// Why.
        what: What,
    },
}

/// A [`Divergence`] that changes by the rules alone.
///
/// ```
/// use mainlane::register::{Divergence, Mirror};
///
/// let mut mirror = Mirror::new(0, "never compared");
/// let first = mirror.begin();
/// mirror.equal(first);
/// assert_eq!(*mirror.divergence(), Divergence::InSync);
///
/// mirror.diverge(7, "the watcher failed");
/// let second = mirror.begin();
/// mirror.diverge(9, "the queue was full");
/// mirror.equal(second);
/// // What came while it was compared may have been missed.
/// assert_eq!(*mirror.divergence(), Divergence::Diverged { since: 7, what: "the queue was full" });
/// ```
///
/// It cannot be set from outside:
///
/// ```compile_fail,E0616
/// # use mainlane::register::{Divergence, Mirror};
/// let mut mirror = Mirror::new(0, "never compared");
/// mirror.divergence = Divergence::InSync;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub struct Mirror<At, What> {
    divergence: Divergence<At, What>,
    /// The newest comparison that was begun.
    begun: u64,
    /// Whether its end may still be heard: nothing has come between.
    counts: bool,
}

/// A comparison, by its number: they are counted for each mirror, from one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub struct Comparison(pub u64);

impl<At: Clone, What: Clone> Mirror<At, What> {
    /// A mirror that was never compared: it has diverged since `since`.
    pub fn new(since: At, what: What) -> Self {
        Self { divergence: Divergence::Diverged { since, what }, begun: 0, counts: false }
    }

    /// Whether the two are equal.
    pub fn divergence(&self) -> &Divergence<At, What> {
        &self.divergence
    }

    /// Whether a comparison found the two equal, and nothing has put that into doubt since.
    pub fn is_in_sync(&self) -> bool {
        matches!(self.divergence, Divergence::InSync)
    }

    /// Why they may differ; `None` when they are in sync.
    pub fn what(&self) -> Option<&What> {
        match &self.divergence {
            Divergence::InSync => None,
            Divergence::Diverged { what, .. } | Divergence::Reconciling { what, .. } => Some(what),
        }
    }

    /// Something says that they differ, or that a difference may have been missed. A comparison under way no longer counts.
    pub fn diverge(&mut self, at: At, what: What) {
        let since = match &self.divergence {
            Divergence::InSync => at,
            Divergence::Diverged { since, .. } | Divergence::Reconciling { since, .. } => since.clone(),
        };
        self.divergence = Divergence::Diverged { since, what };
        self.counts = false;
    }

    /// A comparison begins. Returns its number, by which its end is told; one that was under way no longer counts.
    pub fn begin(&mut self) -> Comparison {
        self.begin_as(Comparison(self.begun.saturating_add(1)));
        Comparison(self.begun)
    }

    /// As [`begin`](Mirror::begin), numbered by whoever compares: what an event says that was sent before it was known here.
    /// A number that is not higher than all before is no beginning.
    pub fn begin_as(&mut self, comparison: Comparison) {
        if comparison.0 <= self.begun {
            return;
        }
        (self.begun, self.counts) = (comparison.0, true);
        if let Divergence::Diverged { since, what } = &self.divergence {
            self.divergence = Divergence::Reconciling { since: since.clone(), what: what.clone() };
        }
    }

    /// A comparison has ended and found the two equal. True if they are in sync now.
    pub fn equal(&mut self, comparison: Comparison) -> bool {
        if self.counts && comparison.0 == self.begun {
            self.divergence = Divergence::InSync;
            // One beginning has one end.
            self.counts = false;
        }
        self.is_in_sync()
    }

    /// A comparison has ended and found a difference, whichever it was. When the difference is taken over, another comparison is
    /// due: that they are equal then is not known before.
    pub fn different(&mut self, at: At, what: What) {
        self.diverge(at, what);
    }
}

impl<At: Clone + Default, What: Clone + Default> Default for Mirror<At, What> {
    /// Never compared.
    fn default() -> Self {
        Self::new(At::default(), What::default())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Sync = Mirror<u32, &'static str>;

    fn diverged(since: u32, what: &'static str) -> Divergence<u32, &'static str> {
        Divergence::Diverged { since, what }
    }

    fn reconciling(since: u32, what: &'static str) -> Divergence<u32, &'static str> {
        Divergence::Reconciling { since, what }
    }

    fn in_sync() -> Sync {
        let mut mirror = Sync::new(0, "new");
        let comparison = mirror.begin();
        assert!(mirror.equal(comparison));
        mirror
    }

    /// The table of the file's documentation, cell by cell.
    #[test]
    fn the_table() {
        let of = |step: fn(&mut Sync)| {
            let mut all = [Sync::new(0, "new"), Sync::new(0, "new"), in_sync()];
            all[1].begin();
            all.map(|mut mirror| {
                step(&mut mirror);
                *mirror.divergence()
            })
        };
        assert_eq!(of(|mirror| mirror.diverge(5, "x")), [diverged(0, "x"), diverged(0, "x"), diverged(5, "x")]);
        assert_eq!(of(|mirror| mirror.different(5, "x")), [diverged(0, "x"), diverged(0, "x"), diverged(5, "x")]);
        let begun = of(|mirror| {
            mirror.begin();
        });
        assert_eq!(begun, [reconciling(0, "new"), reconciling(0, "new"), Divergence::InSync]);
        let equal = of(|mirror| {
            mirror.equal(Comparison(1));
        });
        assert_eq!(equal, [diverged(0, "new"), Divergence::InSync, Divergence::InSync]);
        let other = of(|mirror| {
            mirror.equal(Comparison(9));
        });
        assert_eq!(other, [diverged(0, "new"), reconciling(0, "new"), Divergence::InSync]);
    }

    #[test]
    fn a_comparison_that_something_came_between_does_not_count() {
        let mut mirror = in_sync();
        let audit = mirror.begin();
        mirror.diverge(3, "lost");
        assert!(!mirror.equal(audit), "begun before the doubt");
        let first = mirror.begin();
        let second = mirror.begin();
        assert!(!mirror.equal(first), "another was begun since");
        assert_eq!(*mirror.divergence(), reconciling(3, "lost"));
        assert_eq!(mirror.what(), Some(&"lost"));
        assert!(mirror.equal(second));
        mirror.diverge(4, "again");
        assert!(!mirror.equal(second), "one beginning has one end");
    }

    #[test]
    fn numbers_that_come_from_outside_rise() {
        let mut mirror = Sync::new(0, "new");
        mirror.begin_as(Comparison(4));
        assert_eq!(*mirror.divergence(), reconciling(0, "new"));
        mirror.diverge(1, "x");
        for old in [0, 3, 4] {
            mirror.begin_as(Comparison(old));
            assert!(!mirror.equal(Comparison(old)), "{old} is over");
        }
        assert_eq!(mirror.begin(), Comparison(5));
    }

    #[test]
    fn a_mirror_whose_numbers_are_used_up_stays_in_doubt() {
        let mut mirror = Sync::new(0, "new");
        mirror.begin_as(Comparison(u64::MAX));
        mirror.diverge(1, "x");
        let last = mirror.begin();
        assert!(!mirror.equal(last));
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Diverge,
        Different,
        Begin,
        /// As its comparer numbers it, right or wrong.
        BeginAs(u64),
        /// The end of a comparison, of any number.
        Equal(u64),
        EqualNewest,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            1 => Just(Step::Diverge),
            1 => Just(Step::Different),
            3 => Just(Step::Begin),
            1 => (0..6_u64).prop_map(Step::BeginAs),
            1 => (0..6_u64).prop_map(Step::Equal),
            3 => Just(Step::EqualNewest),
        ]
    }

    proptest! {
        /// The twin keeps the whole past and asks it: is there an equal end whose beginning came before it with nothing in
        /// doubt and no other beginning in between, and no doubt since?
        #[test]
        fn in_sync_is_what_an_equal_comparison_found_and_nothing_else(steps in prop::collection::vec(step(), 0..40)) {
            let (mut mirror, mut past) = (Sync::new(0, "new"), Vec::new());
            for (at, step) in steps.into_iter().enumerate() {
                let newest = past.iter().rev().find_map(|done| if let Done::Began(n) = done { Some(*n) } else { None });
                let done = match step {
                    Step::Diverge => { mirror.diverge(at as u32, "x"); Done::Doubted }
                    Step::Different => { mirror.different(at as u32, "y"); Done::Doubted }
                    Step::Begin => Done::Began(mirror.begin().0),
                    Step::BeginAs(number) => {
                        mirror.begin_as(Comparison(number));
                        // A beginning only when the number is higher than all before.
                        if number > newest.unwrap_or(0) { Done::Began(number) } else { Done::Nothing }
                    }
                    Step::Equal(number) => { mirror.equal(Comparison(number)); Done::Equal(number) }
                    Step::EqualNewest => { mirror.equal(Comparison(mirror.begun)); Done::Equal(mirror.begun) }
                };
                past.push(done);
                prop_assert_eq!(mirror.is_in_sync(), found_equal(&past), "{:?}", past);
            }
        }
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Done {
        Doubted,
        Began(u64),
        Equal(u64),
        Nothing,
    }

    fn found_equal(past: &[Done]) -> bool {
        let since_doubt = past.iter().rposition(|done| *done == Done::Doubted).map_or(0, |at| at + 1);
        let past = &past[since_doubt..];
        past.iter().enumerate().any(|(end, done)| {
            let Done::Equal(number) = done else { return false };
            let begins = past[..end].iter().rev().find(|done| matches!(done, Done::Began(_)));
            begins == Some(&Done::Began(*number))
        })
    }
}
