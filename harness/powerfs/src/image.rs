//! The bytes of a file, by pages that copies share until one of them writes.

use std::{collections::BTreeMap, sync::Arc};

/// Bytes of a page.
pub const PAGE: u64 = 4096;

pub type Page = Arc<[u8; PAGE as usize]>;

/// The bytes of a file. Pages that are missing are zeros.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub size: u64,
    pub pages: BTreeMap<u64, Page>,
}

/// The pages that a range of bytes touches, each with the range within it.
pub fn pages_of(offset: u64, length: u64) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let end = offset.saturating_add(length);
    let last = if length == 0 { 0 } else { (end - 1) / PAGE + 1 };
    (offset / PAGE..last).map(move |page| {
        let from = offset.saturating_sub(page * PAGE).min(PAGE);
        let to = (end - page * PAGE).min(PAGE);
        (page, from as usize..to as usize)
    })
}

impl Image {
    /// The bytes from `offset`, as many as there are up to `length`.
    pub fn read(&self, offset: u64, length: u64) -> Vec<u8> {
        let length = length.min(self.size.saturating_sub(offset));
        let mut bytes = Vec::with_capacity(length as usize);
        for (page, range) in pages_of(offset, length) {
            match self.pages.get(&page) {
                Some(page) => bytes.extend_from_slice(&page[range]),
                None => bytes.resize(bytes.len() + range.len(), 0),
            }
        }
        bytes
    }

    /// Puts bytes at `offset` and makes the file as long as they need.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut rest = bytes;
        for (page, range) in pages_of(offset, bytes.len() as u64) {
            let (own, after) = rest.split_at(range.len());
            rest = after;
            Arc::make_mut(self.pages.entry(page).or_insert_with(zeros))[range].copy_from_slice(own);
        }
        if !bytes.is_empty() {
            self.size = self.size.max(offset + bytes.len() as u64);
        }
    }

    /// Makes a range zeros; the size stays.
    pub fn zero(&mut self, offset: u64, length: u64) {
        let end = offset.saturating_add(length);
        let touched: Vec<u64> = self.pages.range(offset / PAGE..end.div_ceil(PAGE)).map(|(page, _)| *page).collect();
        for page in touched {
            let from = offset.saturating_sub(page * PAGE).min(PAGE) as usize;
            let to = (end - page * PAGE).min(PAGE) as usize;
            if from == 0 && to == PAGE as usize {
                self.pages.remove(&page);
            } else if let Some(page) = self.pages.get_mut(&page) {
                Arc::make_mut(page)[from..to].fill(0);
            }
        }
    }

    /// Cuts the file off or lengthens it by zeros.
    pub fn set_size(&mut self, size: u64) {
        if size < self.size {
            self.zero(size, (self.size - size).saturating_add(PAGE));
        }
        self.size = size;
    }
}

fn zeros() -> Page {
    Arc::new([0; PAGE as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_a_vector_with_holes() {
        let mut image = Image::default();
        let mut model: Vec<u8> = Vec::new();
        let mut random = 1u64;
        for step in 0..2_000u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (offset, length) = ((random >> 33) % 20_000, (random >> 20) % 9_000);
            match random >> 61 {
                0 => {
                    image.set_size(offset);
                    model.resize(offset as usize, 0);
                }
                1 => {
                    image.zero(offset, length);
                    let end = ((offset + length) as usize).min(model.len());
                    if (offset as usize) < end {
                        model[offset as usize..end].fill(0);
                    }
                }
                _ => {
                    let bytes = vec![step as u8 | 1; length as usize];
                    image.write(offset, &bytes);
                    if length > 0 {
                        model.resize(model.len().max((offset + length) as usize), 0);
                        model[offset as usize..(offset + length) as usize].copy_from_slice(&bytes);
                    }
                }
            }
            assert_eq!(image.size, model.len() as u64);
            assert_eq!(image.read(0, u64::MAX), model, "step {step}");
        }
    }
}
