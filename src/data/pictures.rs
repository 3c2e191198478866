//! What sources of pictures share: bytes in planes become a field of the size and range that was asked for.

use super::options::{flag, positive};
use super::resize::resize;
use super::{Column, DataError, Field, Options};
use crate::graph::DType;
use crate::kernels::par;

/// How pictures are delivered.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Sides of the square; none keeps the size.
    pub size: Option<usize>,
    /// As bytes rather than from 0 to 1.
    pub raw: bool,
}

impl Wanted {
    pub fn read(options: &Options) -> Result<Wanted, DataError> {
        Ok(Wanted { size: positive(options, "size", 8192)?, raw: flag(options, "raw") })
    }

    pub fn dtype(self) -> DType {
        if self.raw { DType::U8 } else { DType::F32 }
    }

    /// The field of pictures stored as `[channels, height, width]`.
    pub fn field(self, [channels, height, width]: [usize; 3]) -> Field {
        let (height, width) = self.sizes((height, width));
        Field::values("image", self.dtype(), [channels, height, width])
    }

    pub fn sizes(self, stored: (usize, usize)) -> (usize, usize) {
        self.size.map_or(stored, |side| (side, side))
    }

    /// Planes of bytes, each `height` by `width`, of which `white` is the brightest.
    pub fn deliver(self, bytes: Vec<u8>, stored: (usize, usize), white: f32) -> Column {
        let sizes = self.sizes(stored);
        if self.raw && sizes == stored {
            return Column::U8(bytes);
        }
        let from = stored.0 * stored.1;
        let to = sizes.0 * sizes.1;
        let mut out = vec![0f32; bytes.len().checked_div(from).unwrap_or(0) * to];
        let planes = 64;
        par::fill_blocks(&mut out, to * planes, |start, part| {
            for (at, out) in part.chunks_exact_mut(to).enumerate() {
                let first = (start / to + at) * from;
                let plane: Vec<f32> = bytes[first..first + from].iter().map(|byte| *byte as f32).collect();
                out.copy_from_slice(&resize(&plane, stored, sizes));
            }
        });
        self.finish(out, white)
    }

    /// Values from 0 to `white`, as bytes or from 0 to 1.
    pub fn finish(self, values: Vec<f32>, white: f32) -> Column {
        if self.raw {
            return Column::U8(values.into_iter().map(|value| value.round().clamp(0.0, 255.0) as u8).collect());
        }
        Column::F32(values.into_iter().map(|value| value / white).collect())
    }
}
