//! Between planes `[channels, height, width]` and bands, which hold eight channels side by side for the rows of some
//! tiles.

use std::arch::x86_64::*;

use crate::kernels::micro::{LANES, transpose};

/// Where the pixels of some rows of eight planes lie in a band.
#[derive(Clone, Copy)]
pub struct Place {
    /// First pixel of each plane, and number of pixels: whole rows.
    pub first: usize,
    pub count: usize,
    pub width: usize,
    /// Where the first pixel lies in the band, and the pixels between rows of the band.
    pub start: usize,
    pub pitch: usize,
}

impl Place {
    /// Calls `work` with the first pixel and with the places in the band of eight pixels at a time; the last eight
    /// overlap the ones before. False where there are fewer than eight.
    #[inline(always)]
    fn for_chunks(&self, mut work: impl FnMut(usize, [usize; LANES])) -> bool {
        if self.count < LANES {
            return false;
        }
        let (mut at, mut row, mut column) = (0, self.start, 0);
        while at + LANES <= self.count {
            if column + LANES <= self.width {
                work(self.first + at, std::array::from_fn(|lane| row + column + lane));
                column += LANES;
                if column == self.width {
                    (row, column) = (row + self.pitch, 0);
                }
            } else {
                let mut places = [0; LANES];
                for place in &mut places {
                    *place = row + column;
                    column += 1;
                    if column == self.width {
                        (row, column) = (row + self.pitch, 0);
                    }
                }
                work(self.first + at, places);
            }
            at += LANES;
        }
        if at < self.count {
            let at = self.count - LANES;
            work(self.first + at, std::array::from_fn(|lane| self.place(at + lane)));
        }
        true
    }

    fn place(&self, pixel: usize) -> usize {
        self.start + pixel / self.width * self.pitch + pixel % self.width
    }
}

/// Fills the band with the pixels of eight planes.
///
/// # Safety
/// The processor has AVX2. The planes hold the pixels, and the band their places.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn gather(place: &Place, planes: [*const f32; LANES], band: &mut [f32]) {
    if place.count == 0 {
        return;
    }
    debug_assert!((place.place(place.count - 1) + 1) * LANES <= band.len());
    let to = band.as_mut_ptr();
    let whole = place.for_chunks(|at, places| {
        // SAFETY: by contract.
        let columns = transpose(planes.map(|plane| unsafe { _mm256_loadu_ps(plane.add(at)) }));
        for (place, column) in places.into_iter().zip(columns) {
            // SAFETY: by contract.
            unsafe { _mm256_storeu_ps(to.add(place * LANES), column) };
        }
    });
    if !whole {
        for pixel in 0..place.count {
            for (lane, plane) in planes.into_iter().enumerate() {
                // SAFETY: by contract.
                band[place.place(pixel) * LANES + lane] = unsafe { *plane.add(place.first + pixel) };
            }
        }
    }
}

/// Fills the pixels of up to eight planes from the band.
///
/// # Safety
/// The processor has AVX2. The planes hold the pixels and are nobody else's there; the band holds their places.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn scatter(place: &Place, band: &[f32], planes: &[*mut f32]) {
    if place.count == 0 {
        return;
    }
    debug_assert!((place.place(place.count - 1) + 1) * LANES <= band.len() && planes.len() <= LANES);
    let from = band.as_ptr();
    let whole = place.for_chunks(|at, places| {
        // SAFETY: by contract.
        let rows = transpose(places.map(|place| unsafe { _mm256_loadu_ps(from.add(place * LANES)) }));
        for (plane, row) in planes.iter().zip(rows) {
            // SAFETY: by contract.
            unsafe { _mm256_storeu_ps(plane.add(at), row) };
        }
    });
    if !whole {
        for pixel in 0..place.count {
            for (lane, plane) in planes.iter().enumerate() {
                // SAFETY: by contract.
                unsafe { *plane.add(place.first + pixel) = band[place.place(pixel) * LANES + lane] };
            }
        }
    }
}
