//! The pages that differ from an image, cheap to clone however many they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use offprint_protocol::{Page, PageNo};

/// Pages that are cloned and copied together.
const SPAN: u32 = 32;

type Chunk = [Option<Page>; SPAN as usize];

/// What transactions changed since an image.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overlay {
    chunks: BTreeMap<u32, Arc<Chunk>>,
    /// `None`: the image's.
    page_count: Option<u32>,
}

impl Overlay {
    pub(crate) fn page_count(&self) -> Option<u32> {
        self.page_count
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.page_count.is_none()
    }

    pub(crate) fn get(&self, no: PageNo) -> Option<&Page> {
        let (chunk, at) = place(no)?;
        self.chunks.get(&chunk)?[at].as_ref()
    }

    /// Every page, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PageNo, &Page)> {
        self.chunks.iter().flat_map(|(chunk, pages)| {
            let numbers = (chunk * SPAN + 1..).map(PageNo);
            numbers.zip(pages.iter()).filter_map(|(no, page)| Some((no, page.as_ref()?)))
        })
    }

    /// Takes what a transaction changed, and the size it left the document with.
    pub(crate) fn take(&mut self, changed: BTreeMap<PageNo, Page>, page_count: u32) {
        if self.page_count.is_some_and(|before| page_count < before) {
            self.cut(page_count);
        }
        self.page_count = Some(page_count);
        for (no, page) in changed {
            if let Some((chunk, at)) = place(no) {
                let chunk =
                    self.chunks.entry(chunk).or_insert_with(|| Arc::new([const { None }; SPAN as usize]));
                Arc::make_mut(chunk)[at] = Some(page);
            }
        }
    }

    fn cut(&mut self, page_count: u32) {
        self.chunks.split_off(&page_count.div_ceil(SPAN));
        if let Some(chunk) = self.chunks.get_mut(&(page_count / SPAN)) {
            Arc::make_mut(chunk)[(page_count % SPAN) as usize..].fill(None);
        }
    }
}

fn place(no: PageNo) -> Option<(u32, usize)> {
    let index = no.0.checked_sub(1)?;
    Some((index / SPAN, (index % SPAN) as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(byte: u8) -> Page {
        let mut page = Page::zeroed();
        page.make_mut().fill(byte);
        page
    }

    #[test]
    fn it_holds_what_a_map_would_and_a_clone_stays_as_it_is() {
        let mut overlay = Overlay::default();
        let mut model: BTreeMap<PageNo, Page> = BTreeMap::new();
        let mut clones: Vec<(Overlay, BTreeMap<PageNo, Page>)> = Vec::new();
        let mut x = 7u64;
        for round in 0..400u32 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let page_count = (x >> 33) as u32 % 200;
            let changed: BTreeMap<_, _> = (1..=page_count)
                .filter(|no| (x >> 40).wrapping_mul(u64::from(*no)) % 7 == 0)
                .map(|no| (PageNo(no), page(round as u8)))
                .collect();
            model.split_off(&PageNo(page_count + 1));
            model.extend(changed.clone());
            overlay.take(changed, page_count);
            assert_eq!(overlay.page_count(), Some(page_count));
            let held: BTreeMap<_, _> = overlay.iter().map(|(no, page)| (no, page.clone())).collect();
            assert!(held == model);
            assert!((0..=201).map(PageNo).all(|no| overlay.get(no) == model.get(&no)));
            if round % 16 == 0 {
                clones.push((overlay.clone(), model.clone()));
            }
        }
        for (overlay, model) in clones {
            assert!(overlay.iter().map(|(no, page)| (no, page.clone())).collect::<BTreeMap<_, _>>() == model);
        }
    }
}
