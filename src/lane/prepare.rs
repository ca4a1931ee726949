//! What a lane does to events on the thread that pushes: before they are stamped they are enriched, and their context is filled in; their
//! class is asked for on the way into the lane.
//!
//! All of it looks at one and the same snapshot, which is the newest as the event is prepared, or a run of a batch. It is
//! loaded once for each publication at most, not once for each who asks: to count a snapshot's readers takes its line from every other
//! core, and its content comes from the main lane's.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::core::let_go;
use crate::event::{Class, Event, Phase};
use crate::facets::Facets;
use crate::hub::Hub;
use crate::lane::Item;
use crate::main_lane::reduce::Reducer;
use crate::observe::counters::LaneCounts;
use crate::origin::Origin;
use crate::snapshot::{CachedReader, Reader};
use crate::sync::Arc;

type EventOf<S> = <S as Reducer>::Event;
type FacetsOf<S> = <EventOf<S> as Event>::Facets;
type ClassOf<S> = Class<<EventOf<S> as Event>::Key>;

/// What is done to the events of a lane, whatever the state is called. Lanes that do nothing have none.
pub(crate) trait Prepare<E: Event>: Send {
    /// All of it, to one event and in its slot where that is known, by the newest state.
    ///
    /// # Panics
    /// When the host's code for the class does: an event without a class is none.
    fn prepare(&mut self, item: &mut Item<E>) -> Class<E::Key>;

    /// Enriches events and fills their context in, by the newest state. To many of them at once, step by step: what is called through a
    /// pointer is the step, not the host's code for each event.
    fn complete(&mut self, items: &mut [Item<E>]);

    /// The class of the first that is not critical, or critical; by the state that they were completed by. `critical` is told of each
    /// before it.
    ///
    /// # Panics
    /// When the host's code does; `critical` is right then, too.
    fn classify(&mut self, items: &[Item<E>], critical: &mut usize) -> Class<E::Key>;
}

/// What a lane does to events first, and where those of a batch are while it does.
pub(crate) struct Preparation<E: Event> {
    pub(crate) steps: Box<dyn Prepare<E>>,
    /// Empty between pushes.
    pub(crate) chunk: Vec<Item<E>>,
}

impl<E: Event> Preparation<E> {
    /// How many events of a batch are prepared together at most: as many as lie in the nearest cache with all else.
    pub(crate) const CHUNK: usize = match CHUNK_BYTES.checked_div(size_of::<Item<E>>()) {
        Some(0) => 1,
        Some(fit) if fit < CHUNK_MAX => fit,
        _ => CHUNK_MAX,
    };
}

const CHUNK_BYTES: usize = 8192;
const CHUNK_MAX: usize = 64;

/// The host's code that completes an event.
pub(crate) trait Enrich<E: Event>: Send {
    fn enrich(&mut self, item: &mut Item<E>);

    /// The events from `begun` on, which counts them as it begins with each.
    fn enrich_all(&mut self, items: &mut [Item<E>], begun: &mut usize);
}

/// The host's code that says of what class an event is.
pub(crate) trait Classify<S: Reducer>: Send {
    fn class(&mut self, event: &EventOf<S>, newest: Option<&S>) -> ClassOf<S>;

    /// As [`Prepare::classify`].
    fn first_lossy(&mut self, items: &[Item<EventOf<S>>], critical: &mut usize, newest: Option<&S>) -> ClassOf<S>;
}

impl<E: Event, F: FnMut(&mut E, &mut E::Facets) + Send> Enrich<E> for F {
    fn enrich(&mut self, Item { facets, event }: &mut Item<E>) {
        self(event, facets);
    }

    fn enrich_all(&mut self, items: &mut [Item<E>], begun: &mut usize) {
        for Item { facets, event } in &mut items[*begun..] {
            *begun += 1;
            self(event, facets);
        }
    }
}

/// Given an event and, if anybody publishes one, the newest state.
impl<S: Reducer, F: FnMut(&EventOf<S>, Option<&S>) -> ClassOf<S> + Send> Classify<S> for F {
    fn class(&mut self, event: &EventOf<S>, newest: Option<&S>) -> ClassOf<S> {
        self(event, newest)
    }

    fn first_lossy(&mut self, items: &[Item<EventOf<S>>], critical: &mut usize, newest: Option<&S>) -> ClassOf<S> {
        first_lossy(items, critical, |event| self(event, newest))
    }
}

#[inline]
fn first_lossy<E: Event>(
    items: &[Item<E>],
    critical: &mut usize,
    mut class: impl FnMut(&E) -> Class<E::Key>,
) -> Class<E::Key> {
    for Item { event, .. } in items {
        let class = class_of(event, class(event));
        if let Class::Lossy { .. } = class {
            return class;
        }
        *critical += 1;
    }
    Class::Critical
}

/// In whose hands the class of an event is.
pub(crate) enum Classifier<S: Reducer> {
    Event,
    Rule(Box<dyn Classify<S>>),
    /// One that asks the state.
    ByState(Box<dyn Classify<S>>),
}

/// What a lane was set up to do.
pub(crate) struct Preparing<S: Reducer> {
    enrich: Option<Box<dyn Enrich<EventOf<S>>>>,
    defaults: Option<FacetsOf<S>>,
    classify: Option<Box<dyn Classify<S>>>,
    /// Who the lane's events are about, unless they say so themselves.
    origin: Origin,
    /// Only where somebody asks it.
    newest: Option<CachedReader<S>>,
    counts: Arc<LaneCounts>,
}

impl<S: Reducer> Preparing<S> {
    /// `None` when there is nothing to do.
    pub(crate) fn of_lane(
        hub: &Hub<S>,
        origin: Origin,
        defaults: Option<FacetsOf<S>>,
        enrich: Option<Box<dyn Enrich<EventOf<S>>>>,
        classify: Classifier<S>,
        counts: Arc<LaneCounts>,
    ) -> Option<Preparation<EventOf<S>>> {
        let asks = !FacetsOf::<S>::NONE || matches!(classify, Classifier::ByState(_));
        if !asks && enrich.is_none() && matches!(classify, Classifier::Event) {
            return None;
        }
        let newest = asks.then(|| Reader::new(hub.published.clone(), hub.core.clone()).cached());
        let classify = match classify {
            Classifier::Event => None,
            Classifier::Rule(classify) | Classifier::ByState(classify) => Some(classify),
        };
        let steps = Box::new(Self { enrich, defaults, classify, origin, newest, counts });
        Some(Preparation { steps, chunk: Vec::with_capacity(Preparation::<EventOf<S>>::CHUNK) })
    }
}

/// Where in its preparation an event is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Renew,
    Enrich,
    Fill,
    Classify,
}

/// How many events of those that are prepared together a step has begun with.
#[derive(Default)]
struct Begun {
    has_renewed: bool,
    enriching: usize,
    filling: usize,
}

/// The steps are here twice: one event goes through them with one catch and no loops, which takes a third less than as a chunk of one.
impl<S: Reducer> Prepare<EventOf<S>> for Preparing<S> {
    fn prepare(&mut self, item: &mut Item<EventOf<S>>) -> ClassOf<S> {
        let mut step = Step::Renew;
        // Around all of it: to begin to catch is not free.
        match catch_unwind(AssertUnwindSafe(|| self.go_on(item, &mut step))) {
            Ok(class) => class,
            Err(panic) => self.after_a_panic(item, step, panic),
        }
    }

    fn complete(&mut self, items: &mut [Item<EventOf<S>>]) {
        let mut begun = Begun::default();
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.go_on_with_all(items, &mut begun))) {
            self.contain(panic);
        }
    }

    fn classify(&mut self, items: &[Item<EventOf<S>>], critical: &mut usize) -> ClassOf<S> {
        match &mut self.classify {
            Some(classify) => classify.first_lossy(items, critical, held(&self.newest)),
            None => first_lossy(items, critical, EventOf::<S>::class),
        }
    }
}

#[inline]
fn held<S: Reducer>(newest: &Option<CachedReader<S>>) -> Option<&S> {
    newest.as_ref().map(|newest| &**newest.held())
}

impl<S: Reducer> Preparing<S> {
    /// What is let go of may be the last of an old state, whose `drop` is the host's code, too.
    #[inline(always)]
    fn renew(&mut self) {
        if let Some(newest) = &mut self.newest {
            newest.load();
        }
    }

    /// From this step on.
    #[inline(always)]
    fn go_on(&mut self, item: &mut Item<EventOf<S>>, step: &mut Step) -> ClassOf<S> {
        if *step == Step::Renew {
            self.renew();
            *step = Step::Enrich;
        }
        if let Some(enrich) = &mut self.enrich
            && *step == Step::Enrich
        {
            enrich.enrich(item);
        }
        if !FacetsOf::<S>::NONE && *step != Step::Classify {
            *step = Step::Fill;
            self.fill(item);
        }
        *step = Step::Classify;
        let class = match &mut self.classify {
            Some(classify) => classify.class(&item.event, held(&self.newest)),
            None => item.event.class(),
        };
        class_of(&item.event, class)
    }

    /// But for the class, with the events that no step has begun with.
    #[inline(always)]
    fn go_on_with_all(&mut self, items: &mut [Item<EventOf<S>>], begun: &mut Begun) {
        if !std::mem::replace(&mut begun.has_renewed, true) {
            self.renew();
        }
        if let Some(enrich) = &mut self.enrich {
            enrich.enrich_all(items, &mut begun.enriching);
        }
        if FacetsOf::<S>::NONE {
            return;
        }
        for item in &mut items[begun.filling..] {
            begun.filling += 1;
            self.fill(item);
        }
    }

    /// The context that is not set yet: the lane's first, then the state's.
    #[inline(always)]
    fn fill(&self, Item { facets, event }: &mut Item<EventOf<S>>) {
        let Self { defaults, origin, newest, .. } = self;
        if let Some(defaults) = defaults {
            facets.fill(defaults);
        }
        let about = || event.origin().unwrap_or(*origin);
        if let Some(known) = held(newest).and_then(|state| state.facets_of(about(), event)) {
            facets.fill(known);
        }
    }

    /// Each step is the host's code, and a panic in one takes nothing from the others; but an event without a class is none.
    #[cold]
    fn after_a_panic(
        &mut self,
        item: &mut Item<EventOf<S>>,
        mut step: Step,
        mut panic: Box<dyn Any + Send>,
    ) -> ClassOf<S> {
        loop {
            let next = match step {
                Step::Renew => Step::Enrich,
                Step::Enrich => Step::Fill,
                Step::Fill => Step::Classify,
                Step::Classify => resume_unwind(panic),
            };
            self.contain(panic);
            step = next;
            match catch_unwind(AssertUnwindSafe(|| self.go_on(item, &mut step))) {
                Ok(class) => return class,
                Err(another) => panic = another,
            }
        }
    }

    #[cold]
    fn contain(&self, panic: Box<dyn Any + Send>) {
        let_go(panic);
        self.counts.producer.rare.enricher_panics.add(1);
    }
}

/// The end of an operation is critical, whatever the event's class says.
#[inline]
pub(crate) fn class_of<E: Event>(event: &E, class: Class<E::Key>) -> Class<E::Key> {
    match event.operation() {
        Some(operation) if operation.phase == Phase::Terminal => Class::Critical,
        _ => class,
    }
}
