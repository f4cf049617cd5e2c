//! The stacks of a run's profiles as data of a page: small enough to be sent around, whole enough to be walked through.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use uplift_analysis::profile::{Profile, Stack};

use crate::{ReportInput, build::place, profile::Drawn};

/// Frames of less than so much of the whole are left out: they would be narrower than a pixel.
const SHARE_MIN: f64 = 0.0005;

/// The stacks of each scenario that has some, by the name that the document gives them.
pub fn of_run(input: &ReportInput<'_>) -> Vec<(String, String)> {
    input
        .run
        .scenarios
        .iter()
        .filter_map(|planned| {
            let name = &planned.scenario.name;
            let drawn = Drawn::of_scenario(input.profiles, name, &planned.variants).ok()?;
            let graphs: Vec<Value> = drawn.iter().map(of_variant).collect();
            if drawn.iter().all(|one| one.cpu.stacks.is_empty()) {
                return None;
            }
            let data = json!({ "unit": planned.unit_of_work, "variants": graphs });
            // A closing tag in a name must not end the element.
            Some((format!("stacks-{}", place(name, "")), data.to_string().replace('<', "\\u003c")))
        })
        .collect()
}

fn of_variant(one: &Drawn<'_>) -> Value {
    let off = Profile::off_cpu(&one.trials).ok().flatten().unwrap_or_default();
    let on_ns = one.cpu.sample_ns;
    json!({
        "variant": one.variant,
        "about": one.quality(),
        "operations": one.cpu.operations,
        "cores": one.cpu.cores_used(),
        "on": tree(&one.cpu.stacks, on_ns),
        "off": if off.is_empty() { Value::Null } else { tree(&off, 1e3) },
    })
}

#[derive(Default)]
struct Node {
    total: u64,
    own: u64,
    children: BTreeMap<usize, Node>,
}

/// Names, and each frame as the index of its name, its depth and its own count, in the order of a walk.
fn tree(stacks: &[Stack], ns: f64) -> Value {
    let mut names: Vec<&str> = Vec::new();
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    let mut root = Node::default();
    for stack in stacks {
        root.total += stack.count;
        let mut node = &mut root;
        for frame in &stack.frames {
            let name = *known.entry(frame).or_insert_with(|| {
                names.push(frame);
                names.len() - 1
            });
            node = node.children.entry(name).or_default();
            node.total += stack.count;
        }
        node.own += stack.count;
    }
    let least = (root.total as f64 * SHARE_MIN).ceil() as u64;
    let mut frames: Vec<u64> = Vec::new();
    walk(&root, 0, least, &mut frames);
    // Only the names that are left.
    let mut used: BTreeMap<u64, u64> = BTreeMap::new();
    let mut kept: Vec<&str> = Vec::new();
    for frame in frames.chunks_mut(3) {
        let index = *used.entry(frame[0]).or_insert_with(|| {
            kept.push(names[frame[0] as usize]);
            kept.len() as u64 - 1
        });
        frame[0] = index;
    }
    json!({ "ns": ns, "total": root.total, "names": kept, "frames": frames })
}

/// Adds the children of a node; what is left out is the node's own.
fn walk(node: &Node, depth: u64, least: u64, frames: &mut Vec<u64>) {
    for (&name, child) in &node.children {
        if child.total < least {
            continue;
        }
        let hidden: u64 = child.children.values().filter(|inner| inner.total < least).map(|inner| inner.total).sum();
        frames.extend([name as u64, depth, child.own + hidden]);
        walk(child, depth + 1, least, frames);
    }
}

#[cfg(test)]
mod tests {
    use uplift_analysis::profile::folded::merge;

    use super::*;

    #[test]
    fn nothing_is_lost_of_the_whole() {
        let stacks = merge(["a;b;c 900\na;b 90\na;d 9\nx 1001\n"]).unwrap();
        let tree = tree(&stacks, 1e6);
        let own: u64 = tree["frames"].as_array().unwrap().chunks(3).map(|frame| frame[2].as_u64().unwrap()).sum();
        assert_eq!((own, tree["total"].as_u64()), (2000, Some(2000)));
        let narrow = super::tree(&merge(["a;b 1\na;c 9999\n"]).unwrap(), 1.0);
        assert_eq!(narrow["names"].as_array().unwrap().len(), 2, "what is narrower than a pixel is its caller's");
        assert_eq!(narrow["frames"], json!([0, 0, 1, 1, 1, 9999]));
    }
}
