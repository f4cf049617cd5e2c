//! A profile in the Firefox Profiler's processed format, for profiler.firefox.com.
//!
//! Folded stacks know no moments, so the time axis of this file is none: stacks stand on it in the order of their text.

use std::{
    collections::BTreeMap,
    time::{Duration, UNIX_EPOCH},
};

use fxprof_processed_profile::{
    CategoryColor, CpuDelta, Frame, FrameFlags, FrameInfo, Profile as Document, ReferenceTimestamp, SamplingInterval,
    ThreadHandle, Timestamp, WeightType,
};
use uplift_analysis::profile::{
    Category, Profile, category,
    folded::{function, is_kernel},
};

const fn colour(category: Category) -> CategoryColor {
    match category {
        Category::Application => CategoryColor::Yellow,
        Category::Sync => CategoryColor::Red,
        Category::FileIo => CategoryColor::Orange,
        Category::Sqlite => CategoryColor::Purple,
        Category::Serialization => CategoryColor::Blue,
        Category::Memory => CategoryColor::Green,
        Category::Locks => CategoryColor::Magenta,
        Category::Network => CategoryColor::LightBlue,
        Category::Scheduler => CategoryColor::Brown,
        Category::OtherKernel => CategoryColor::DarkGray,
        Category::Nameless => CategoryColor::Transparent,
        Category::Harness => CategoryColor::Gray,
    }
}

/// The bytes of a `.json` file.
///
/// # Errors
/// Where the document has no JSON form, which would be a defect of the library.
pub fn encode(title: &str, profile: &Profile, started_unix_s: u64) -> Result<Vec<u8>, serde_json::Error> {
    let started: ReferenceTimestamp = (UNIX_EPOCH + Duration::from_secs(started_unix_s)).into();
    let interval = SamplingInterval::from_nanos((profile.sample_ns.round() as u64).max(1));
    let mut document = Document::new(title, started, interval);
    document.set_symbolicated(true);
    let begin = Timestamp::from_nanos_since_reference(0);
    let process = document.add_process(title, 1, begin);
    let mut threads: BTreeMap<&str, (ThreadHandle, u64)> = BTreeMap::new();
    let mut categories = BTreeMap::new();
    for stack in &profile.stacks {
        let kind = category::of_stack(stack);
        let category = *categories.entry(kind).or_insert_with(|| document.add_category(kind.name(), colour(kind)));
        let group = stack.frames.first().map_or("", String::as_str);
        let next = threads.len() as u32;
        let (thread, at_ns) = threads.entry(group).or_insert_with(|| {
            let thread = document.add_thread(process, next + 1, begin, next == 0);
            document.set_thread_name(thread, group);
            document.set_thread_samples_weight_type(thread, WeightType::Samples);
            (thread, 0)
        });
        let frames: Vec<FrameInfo> = stack
            .frames
            .iter()
            .skip(1)
            .map(|frame| {
                let name = function(frame);
                let name = if is_kernel(frame) { format!("{name} [kernel]") } else { name.to_owned() };
                FrameInfo {
                    frame: Frame::Label(document.intern_string(&name)),
                    category_pair: category.into(),
                    flags: FrameFlags::empty(),
                }
            })
            .collect();
        let handle = document.intern_stack_frames(*thread, frames.into_iter());
        let spent_ns = (stack.count as f64 * profile.sample_ns).round() as u64;
        *at_ns += spent_ns;
        document.add_sample(
            *thread,
            Timestamp::from_nanos_since_reference(*at_ns),
            handle,
            CpuDelta::from_nanos(spent_ns),
            i32::try_from(stack.count).unwrap_or(i32::MAX),
        );
    }
    serde_json::to_vec(&document)
}
