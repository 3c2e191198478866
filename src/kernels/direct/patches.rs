//! What the outputs of some lines read, in panels `[pixels / 16, channels * taps, 16]`.
//!
//! A *line* is one row of outputs of one image. The rows under some lines are first copied to a band, padded, and split
//! by the remainders of their coordinates by the stride; there each tap reads runs of neighbours.

use std::ops::Range;

use crate::kernels::micro::{LANES, PANEL, copy_steps};

/// Planes `[images, channels, height, width]`.
#[derive(Clone, Copy)]
pub struct Planes<'a> {
    pub data: &'a [f32],
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

/// Which pixels the outputs of a grid read: output (r, c) reads pixel (step * r + down, step * c + right) for each tap.
pub struct Lattice {
    pub rows: usize,
    pub columns: usize,
    step: [usize; 2],
    /// Remainders by the step that some tap has.
    phases: Vec<[usize; 2]>,
    /// Of each tap its phase, and its row and column there, counted from the first.
    taps: Vec<(usize, [usize; 2])>,
    /// First row and column that a tap reads in its phase for output (0, 0), and how far the last is from there.
    first: [isize; 2],
    reach: [usize; 2],
}

impl Lattice {
    pub fn new(rows: usize, columns: usize, step: [usize; 2], shifts: &[[isize; 2]]) -> Lattice {
        let parts = |at: usize, shift: isize| {
            let step = step[at] as isize;
            (shift.rem_euclid(step) as usize, shift.div_euclid(step))
        };
        let (mut phases, mut first, mut last) = (Vec::new(), [isize::MAX; 2], [isize::MIN; 2]);
        for [down, right] in shifts {
            let ((y, row), (x, column)) = (parts(0, *down), parts(1, *right));
            if !phases.contains(&[y, x]) {
                phases.push([y, x]);
            }
            first = [first[0].min(row), first[1].min(column)];
            last = [last[0].max(row), last[1].max(column)];
        }
        let tap = |[down, right]: &[isize; 2]| {
            let ((y, row), (x, column)) = (parts(0, *down), parts(1, *right));
            let phase = phases.iter().position(|phase| *phase == [y, x]).unwrap_or_default();
            (phase, [(row - first[0]) as usize, (column - first[1]) as usize])
        };
        let taps = shifts.iter().map(tap).collect();
        let reach = [0, 1].map(|at| (last[at] - first[at]) as usize);
        Lattice { rows, columns, step, phases, taps, first, reach }
    }

    pub fn taps(&self) -> usize {
        self.taps.len()
    }

    fn pitch(&self) -> usize {
        self.columns + self.reach[1]
    }

    /// Elements of one phase of one channel in a band of up to `lines` lines of an image.
    fn plane(&self, lines: usize) -> usize {
        (lines.min(self.rows) + self.reach[0]) * self.pitch()
    }

    /// Elements of a band.
    pub fn band(&self, channels: usize, lines: &Range<usize>) -> usize {
        let images = if lines.is_empty() { 0 } else { (lines.end - 1) / self.rows - lines.start / self.rows + 1 };
        images * channels * self.phases.len() * self.plane(lines.len()) + PANEL
    }

    /// Lines cut where the image changes: number of the piece, image, rows.
    fn for_images(&self, lines: &Range<usize>, mut work: impl FnMut(usize, usize, Range<usize>)) {
        let (mut at, mut piece) = (lines.start, 0);
        while at < lines.end {
            let (image, row) = (at / self.rows, at % self.rows);
            let end = self.rows.min(row + lines.end - at);
            work(piece, image, row..end);
            (at, piece) = (at + end - row, piece + 1);
        }
    }

    /// Copies what the lines read of some channels to the band; outside of the planes there are zeros.
    pub fn fill(&self, planes: &Planes, channels: &Range<usize>, lines: &Range<usize>, band: &mut [f32]) {
        let (plane, pitch) = (self.plane(lines.len()), self.pitch());
        let size = planes.height * planes.width;
        self.for_images(lines, |piece, image, rows| {
            for (at, channel) in channels.clone().enumerate() {
                let from = &planes.data[(image * planes.channels + channel) * size..][..size];
                for (phase, offset) in self.phases.iter().enumerate() {
                    let start = ((piece * channels.len() + at) * self.phases.len() + phase) * plane;
                    for row in 0..rows.len() + self.reach[0] {
                        let y = (rows.start + row) as isize + self.first[0];
                        let y = y * self.step[0] as isize + offset[0] as isize;
                        let to = &mut band[start + row * pitch..][..pitch];
                        if y < 0 || y >= planes.height as isize {
                            to.fill(0.0);
                        } else {
                            self.fill_row(&from[y as usize * planes.width..][..planes.width], offset[1], to);
                        }
                    }
                }
            }
        });
    }

    fn fill_row(&self, from: &[f32], offset: usize, to: &mut [f32]) {
        let step = self.step[1];
        // Column c of the band is pixel (first + c) * step + offset.
        let origin = self.first[1] * step as isize + offset as isize;
        let start = (origin.min(0).unsigned_abs().div_ceil(step)).min(to.len());
        let end = usize::try_from(from.len() as isize - origin).unwrap_or(0).div_ceil(step).clamp(start, to.len());
        to[..start].fill(0.0);
        to[end..].fill(0.0);
        if start < end {
            let from = &from[(origin + (start * step) as isize) as usize..];
            match step {
                // SAFETY: patches are used where the processor has the features; the end is within the plane.
                1 | 2 => unsafe { copy_steps(from, step, &mut to[start..end]) },
                _ => to[start..end].iter_mut().zip(from.iter().step_by(step)).for_each(|(to, from)| *to = *from),
            }
        }
    }

    /// Whether the planes can be read where they are: no zeros around, no stride, and runs that are whole vectors.
    pub fn bare(&self, planes: &Planes, images: usize, lines: usize) -> bool {
        self.step == [1, 1]
            && self.first == [0, 0]
            && self.rows + self.reach[0] == planes.height
            && self.columns + self.reach[1] == planes.width
            && self.columns.is_multiple_of(4)
            && (images * self.rows * self.columns).is_multiple_of(PANEL)
            && (lines * self.columns).is_multiple_of(PANEL)
    }

    /// Where the patches of some lines and channels are found in a band.
    pub fn in_band<'a>(&self, band: &'a [f32], channels: usize, lines: &Range<usize>) -> Patches<'a> {
        let (plane, phases) = (self.plane(lines.len()), self.phases.len());
        let tap = |(phase, [row, column]): &(usize, [usize; 2])| phase * plane + row * self.pitch() + column;
        let mut starts = Vec::with_capacity(lines.len());
        self.for_images(lines, |piece, _, rows| {
            let first = piece * channels * phases * plane;
            starts.extend((0..rows.len()).map(|row| first + row * self.pitch()));
        });
        Patches {
            data: band,
            starts,
            columns: self.columns,
            taps: self.taps.iter().map(tap).collect(),
            channels,
            channel: phases * plane,
        }
    }

    /// Where they are found in planes that are [`Lattice::bare`].
    pub fn in_planes<'a>(&self, planes: &Planes<'a>, channels: &Range<usize>, lines: &Range<usize>) -> Patches<'a> {
        let plane = planes.height * planes.width;
        let start = |line: usize| {
            (line / self.rows * planes.channels + channels.start) * plane + line % self.rows * planes.width
        };
        Patches {
            data: planes.data,
            starts: lines.clone().map(start).collect(),
            columns: self.columns,
            taps: self.taps.iter().map(|(_, [row, column])| row * planes.width + column).collect(),
            channels: channels.len(),
            channel: plane,
        }
    }
}

/// Runs of neighbours: each line's first pixel, and the steps to each tap and channel from there.
pub struct Patches<'a> {
    data: &'a [f32],
    starts: Vec<usize>,
    columns: usize,
    taps: Vec<usize>,
    channels: usize,
    channel: usize,
}

impl Patches<'_> {
    pub fn panels(&self) -> usize {
        (self.starts.len() * self.columns).div_ceil(PANEL)
    }

    /// Writes all panels, one after the other. Pixels after the last one are 0. Up to eight elements after the end may be
    /// written too.
    pub fn pack(&self, packed: &mut [f32]) {
        let (pixels, size) = (self.starts.len() * self.columns, self.channels * self.taps.len() * PANEL);
        for panel in 0..self.panels() {
            let (at, packed) = (panel * PANEL, &mut packed[panel * size..][..size + LANES]);
            let start = |pixel: usize| self.starts[pixel / self.columns] + pixel % self.columns;
            let whole = at + PANEL <= pixels;
            if whole && self.columns.is_multiple_of(PANEL) {
                self.pack_runs([start(at)], packed);
            } else if whole && self.columns.is_multiple_of(8) {
                self.pack_runs([start(at), start(at + 8)], packed);
            } else if whole && self.columns.is_multiple_of(4) {
                self.pack_runs([0, 4, 8, 12].map(|run| start(at + run)), packed);
            } else {
                self.pack_pieces(at..pixels.min(at + PANEL), packed);
            }
        }
    }

    /// One panel of runs of the same length.
    fn pack_runs<const RUNS: usize>(&self, starts: [usize; RUNS], panel: &mut [f32]) {
        let (width, last) = (PANEL / RUNS, starts.into_iter().max().unwrap_or_default());
        assert!(self.reach(last) + width <= self.data.len());
        for (term, place) in self.terms().zip(panel.chunks_exact_mut(PANEL)) {
            for (start, place) in starts.into_iter().zip(place.chunks_exact_mut(width)) {
                // SAFETY: the farthest run ends within the data.
                place.copy_from_slice(unsafe { self.data.get_unchecked(term + start..term + start + width) });
            }
        }
    }

    /// One panel of pieces of lines of any length, in chunks of eight of which the next chunk overwrites what is too much.
    fn pack_pieces(&self, pixels: Range<usize>, panel: &mut [f32]) {
        let (first, count) = (pixels.start, pixels.len());
        let mut pieces: [(usize, usize); PANEL] = [(0, 0); PANEL];
        let (mut at, mut used) = (0, 0);
        while at < count {
            let (line, column) = ((first + at) / self.columns, (first + at) % self.columns);
            let run = (self.columns - column).min(count - at);
            for chunk in (0..run).step_by(LANES) {
                pieces[used] = (self.starts[line] + column + chunk, at + chunk);
                used += 1;
            }
            at += run;
        }
        let last = pieces[..used].iter().map(|(start, _)| *start).max().unwrap_or_default();
        assert!(self.reach(last) + LANES <= self.data.len());
        for (at, term) in self.terms().enumerate() {
            let place = &mut panel[at * PANEL..][..PANEL + LANES];
            for (start, lane) in &pieces[..used] {
                // SAFETY: the farthest chunk ends within the data, and a piece starts in one of the first 16 places.
                unsafe {
                    let from = self.data.as_ptr().add(term + start);
                    std::ptr::copy_nonoverlapping(from, place.as_mut_ptr().add(*lane), LANES);
                }
            }
            if count < PANEL {
                place[count..PANEL].fill(0.0);
            }
        }
    }

    /// How far each channel and tap is from the start of a run.
    fn terms(&self) -> impl Iterator<Item = usize> {
        (0..self.channels).flat_map(move |channel| self.taps.iter().map(move |tap| channel * self.channel + tap))
    }

    /// Where the farthest channel and tap of a pixel are.
    fn reach(&self, start: usize) -> usize {
        start + self.channels.saturating_sub(1) * self.channel + self.taps.iter().max().unwrap_or(&0)
    }
}
