//! No allocation per operation: a turn of many operations allocates no more than a turn of few.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use uplift_agent::{load::Pool, recorder::Recorder};
use uplift_model::{
    protocol::TurnLength,
    scenario::{Arrival, Load},
};
use uplift_sdk::{
    Batch, Check, Client, Drain, Durability, Outcome, Target, TargetError,
    stage::{StageTable, thread as span},
};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Nothing;

impl Target for Nothing {
    fn effective(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    fn durability(&self) -> Durability {
        Durability::None
    }

    fn client(&self, _: usize, _: u64) -> Result<Box<dyn Client + '_>, TargetError> {
        span::attach("client");
        Ok(Box::new(NoWork))
    }

    fn drain(&self) -> Result<Drain, TargetError> {
        Ok(Drain::default())
    }

    fn check(&self) -> Result<Check, TargetError> {
        Ok(Check { passed: true, checked: 1, detail: String::new() })
    }
}

struct NoWork;

impl Client for NoWork {
    fn operate(&mut self, batch: Batch) -> Outcome {
        let _request = span::process(0);
        drop(span::wait(1));
        Outcome::ok(0).of(batch.operations)
    }
}

fn allocations_of_a_turn(pool: &Pool, operations: u64) -> u64 {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let mut run = pool.run(TurnLength::Operations(operations)).unwrap();
    let allocated = ALLOCATIONS.load(Ordering::Relaxed) - before;
    let done: u64 = run.recorder().cells_mut().iter().map(|cell| cell.ok).sum();
    assert_eq!(done, operations);
    allocated
}

#[test]
fn operations_do_not_allocate() {
    let stages = StageTable::new(&["request", "lock"]);
    span::install(&stages);
    let open = Load::Open {
        rate: 5e7,
        arrival: Arrival::Poisson,
        clients: 2,
        batch: 1,
        batch_window: None,
        phases: Vec::new(),
        agents: 0,
    };
    for load in [Load::Closed { clients: 2, think: None, batch: 1, agents: 0 }, open] {
        let separate = !load.response_is_service();
        let pool = Pool::new(load, 1, Recorder::new(1, 1, 100_000_000, 10, separate));
        thread::scope(|scope| {
            pool.spawn(scope, &Nothing).unwrap();
            let _ = allocations_of_a_turn(&pool, 1_000);
            let few = allocations_of_a_turn(&pool, 1_000);
            let many = allocations_of_a_turn(&pool, 1_000_000);
            // Noting calls for a profile takes its room when the turn begins.
            pool.note_calls(true);
            let noting = allocations_of_a_turn(&pool, 1_000_000);
            let calls = pool.take_calls();
            pool.close();
            assert!(many <= few + 16, "{few} allocations for 1,000 operations, {many} for 1,000,000");
            assert!(noting <= few + 32, "{few} allocations for 1,000 operations, {noting} for 1,000,000 noted");
            assert!(calls.count() > 0 && calls.missed == 0);
        });
    }
    assert!(stages.records().iter().any(|record| record.count > 1_000_000), "{:?}", stages.records());
}
