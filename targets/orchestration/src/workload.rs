//! The orchestrations and activities that the load starts.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use duroxide::{ActivityContext, OrchestrationContext, OrchestrationRegistry, runtime::registry::ActivityRegistry};

use crate::{
    delay,
    settings::{Workload, WorkloadKind},
};

/// The name under which the load starts orchestrations.
pub const ORCHESTRATION: &str = "UpliftWorkload";
const SUB_ORCHESTRATION: &str = "UpliftPayload";
const TASK: &str = "UpliftTask";

/// Sizes of payloads in bytes; an orchestration uses each for a third of its activities.
const PAYLOAD_BYTES: [usize; 3] = [10 << 10, 50 << 10, 100 << 10];
/// Sub-orchestrations of a large-payload orchestration.
const SUB_ORCHESTRATIONS: u32 = 5;

/// The activities, and a count of those that were carried out.
pub fn activities(workload: &Workload) -> (ActivityRegistry, Arc<AtomicU64>) {
    let done = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&done);
    let length = workload.activity_delay.0;
    let registry = ActivityRegistry::builder()
        .register(TASK, move |_: ActivityContext, input: String| {
            let count = Arc::clone(&count);
            async move {
                delay::delay(length).await.map_err(|error| format!("the delay of an activity: {error}"))?;
                count.fetch_add(1, Ordering::Relaxed);
                // "<bytes to answer>:<payload>"
                let bytes = input.split_once(':').and_then(|(bytes, _)| bytes.parse().ok()).unwrap_or(0usize);
                Ok(payload(bytes))
            }
        })
        .build();
    (registry, done)
}

/// The orchestrations.
pub fn orchestrations(workload: &Workload) -> OrchestrationRegistry {
    let count = workload.activities;
    match workload.kind {
        WorkloadKind::Fanout => OrchestrationRegistry::builder()
            .register(ORCHESTRATION, move |context: OrchestrationContext, _: String| async move {
                let tasks = (0..count).map(|index| context.schedule_activity(TASK, format!("0:{index}"))).collect();
                let results = context.join(tasks).await;
                Ok(results.iter().filter(|result| result.is_ok()).count().to_string())
            })
            .build(),
        WorkloadKind::LargePayload => OrchestrationRegistry::builder()
            .register(ORCHESTRATION, move |context: OrchestrationContext, _: String| async move {
                let mut done = 0;
                for index in 0..count {
                    let bytes = PAYLOAD_BYTES[(index * 3 / count.max(1)) as usize % 3];
                    let answer = context.schedule_activity(TASK, format!("{bytes}:{}", payload(bytes / 2))).await?;
                    done += u32::from(answer.len() == bytes);
                }
                let subs = (0..SUB_ORCHESTRATIONS)
                    .map(|_| context.schedule_sub_orchestration(SUB_ORCHESTRATION, payload(PAYLOAD_BYTES[1])))
                    .collect();
                let results = context.join(subs).await;
                done += results.iter().filter(|result| result.is_ok()).count() as u32;
                Ok(done.to_string())
            })
            .register(SUB_ORCHESTRATION, |context: OrchestrationContext, input: String| async move {
                let answer = context.schedule_activity(TASK, format!("{}:{input}", PAYLOAD_BYTES[0])).await?;
                Ok(answer.len().to_string())
            })
            .build(),
    }
}

/// What a correct orchestration answers.
pub fn expected_output(workload: &Workload) -> String {
    match workload.kind {
        WorkloadKind::Fanout => workload.activities.to_string(),
        WorkloadKind::LargePayload => (workload.activities + SUB_ORCHESTRATIONS).to_string(),
    }
}

fn payload(bytes: usize) -> String {
    "x".repeat(bytes)
}
