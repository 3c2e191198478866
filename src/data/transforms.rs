//! The table of transforms: one row each. All but `standardize` choose records and leave them as they are.

use std::sync::Arc;

use super::ParamKind::{Amount, Amounts, Bool, Field, Float, Int};
use super::fault::{count, suggestion};
use super::options::{float, int, others, positive, seed, text};
use super::order::{draw_key, permutation};
use super::select::{Place, Selected, all, read_places};
use super::{Column, DataError, Dataset, Entry, Opened, Options, Param, ParamKind, Setting};

mod standardize;

/// Counting the records of each class takes memory for each class.
const MOST_CLASSES: usize = 1 << 24;

/// Makes a data set of another.
pub type TransformFn = fn(Opened, &Options) -> Result<Opened, DataError>;

const fn param(name: &'static str, kind: ParamKind, default: &'static str) -> Param {
    Param { name, kind, default: Some(default) }
}

const ON: Param = param("on", Field, "none");
const SEED: Param = param("seed", Int, "0");

static SPLIT: &[Param] = &[
    SEED,
    param("stratified", Field, "none"),
    ON,
    param("only", Bool, "none"),
    Param { name: "splits", kind: Amounts, default: None },
];
static TAKE: &[Param] = &[
    param("count", Amount, "none"),
    param("per", Field, "none"),
    param("seed", Int, "none"),
    ON,
    param("splits", Amounts, "none"),
];

static TRANSFORMS: &[Entry<TransformFn>] = &[
    Entry {
        name: "split",
        doc: "Deals all records out to new splits: `split(train: 0.8, val: 100)`. Whole numbers are records, others \
              shares; what is left over becomes `test` unless that is named. `stratified: label` keeps the shares of \
              the classes. `on: train` deals out one split and keeps the others, unless `only: true` leaves them out; \
              `set.train.split(…)` is both.",
        params: SPLIT,
        run: split,
    },
    Entry {
        name: "take",
        doc: "Fewer records: `take(100)` the first of each split, `take(train: 1000)` of one, `take(10, per: label)` of \
              each class. With `seed:` (always with `per:`) they are drawn.",
        params: TAKE,
        run: take,
    },
    Entry {
        name: "slice",
        doc: "The records from `start` up to `stop`, of the split `on` names, or of each.",
        params: &[
            Param { name: "start", kind: Int, default: None },
            Param { name: "stop", kind: Int, default: None },
            ON,
        ],
        run: slice,
    },
    Entry {
        name: "shuffle",
        doc: "Another order of the records of each split, or of the one `on:` names.",
        params: &[SEED, ON],
        run: shuffle,
    },
    Entry {
        name: "long_tail",
        doc: "Makes classes rarer one after the other: the last is left with `1 / ratio` of the records of the first, \
              which keeps `most` (all it has in a balanced set). On `train`, else on the first split.",
        params: &[
            Param { name: "ratio", kind: Float, default: None },
            param("most", Int, "none"),
            param("by", Field, "label"),
            SEED,
            ON,
        ],
        run: long_tail,
    },
    Entry {
        name: "standardize",
        doc: "Shifts and scales the elements of vector fields so that those of the split `fit` have mean 0 and standard \
              deviation 1.",
        params: &[param("fit", Field, "train"), param("field", Field, "none")],
        run: standardize::run,
    },
];

pub fn transforms() -> &'static [Entry<TransformFn>] {
    TRANSFORMS
}

pub fn transform(name: &str) -> Option<&'static Entry<TransformFn>> {
    TRANSFORMS.iter().find(|entry| entry.name == name)
}

fn split(base: Opened, options: &Options) -> Result<Opened, DataError> {
    let kept = all(&*base)?;
    let on = text(options, "on").map(|name| base.schema().split_index(name)).transpose()?;
    let mut pool: Vec<Place> = match on {
        Some(at) => kept[at].1.clone(),
        None => kept.iter().flat_map(|(_, places)| places.iter().copied()).collect(),
    };
    shuffle_places(&mut pool, options, "split");
    if let Some(field) = text(options, "stratified") {
        pool = interleave(&*base, field, pool)?;
    }
    let only = matches!(options.get("only"), Some(Setting::Bool(true)));
    let mut splits = Vec::new();
    let mut rest = &pool[..];
    for (name, amount) in shares(others(options, SPLIT), pool.len())? {
        let (mine, left) = rest.split_at(amount);
        splits.push((name, mine.to_vec()));
        rest = left;
    }
    if !rest.is_empty() && splits.iter().all(|(name, _)| name != "test") {
        splits.push(("test".into(), rest.to_vec()));
    }
    // Splits that were not dealt out stay, unless a new one has their name.
    let others = kept.into_iter().enumerate().filter(|(at, _)| on.is_some() && !only && Some(*at) != on);
    for (_, (name, places)) in others {
        if splits.iter().all(|(taken, _)| *taken != name) {
            splits.push((name, places));
        }
    }
    Ok(Arc::new(Selected::new(base, splits)))
}

/// Records for each name: whole numbers as they are, shares of `total` rounded so that they add up.
fn shares<'a>(
    amounts: impl Iterator<Item = (&'a str, &'a Setting)>,
    total: usize,
) -> Result<Vec<(String, usize)>, DataError> {
    let (mut counts, mut share, mut used) = (Vec::new(), 0f64, 0usize);
    for (name, setting) in amounts {
        let amount = match setting {
            Setting::Float(part) if *part > 0.0 && *part <= 1.0 => {
                let before = (share * total as f64).round();
                share += part;
                if share > 1.0 + 1e-9 {
                    return Err(DataError::value(format!("the shares add up to {share:.3}, more than 1"))
                        .help("make them smaller"));
                }
                ((share * total as f64).round() - before) as usize
            }
            Setting::Int(records) if *records > 0 => *records as usize,
            other => return Err(bad_amount(name, other)),
        };
        if amount == 0 {
            return Err(DataError::value(format!("`{name}` gets none of {} records", count(total)))
                .help("give it a larger share"));
        }
        used = used.saturating_add(amount);
        counts.push((name.to_string(), amount));
    }
    if used > total {
        return Err(DataError::value(format!("{} records are asked for, there are {}", count(used), count(total)))
            .help("ask for fewer, or give shares"));
    }
    Ok(counts)
}

fn bad_amount(name: &str, setting: &Setting) -> DataError {
    let written = match setting {
        Setting::Int(n) => n.to_string(),
        Setting::Float(x) => format!("{x:?}"),
        other => other.words().into(),
    };
    DataError::value(format!("`{name}` is {written}, neither a number of records nor a share between 0 and 1"))
        .help("write `600` for records, `0.2` for a share")
}

/// The draw of a transform depends on its seed and its own name, so `shuffle` and `split` of one seed are unlike.
fn shuffle_places(places: &mut Vec<Place>, options: &Options, name: &str) {
    let order = permutation(draw_key(seed(options), name), places.len());
    *places = order.into_iter().map(|at| places[at]).collect();
}

/// Class of each place.
fn classes_of(base: &dyn Dataset, field: &str, places: &[Place]) -> Result<Vec<usize>, DataError> {
    let described = base.schema().field(field)?;
    match (described.limit, read_places(base, field, places)?) {
        (Some(limit), Column::I64(values)) if limit <= MOST_CLASSES => {
            Ok(values.into_iter().map(|value| value.max(0) as usize).collect())
        }
        (Some(limit), _) => Err(DataError::value(format!("`{field}` counts {} classes", count(limit)))
            .help(format!("at most {} can be kept in balance", count(MOST_CLASSES)))),
        _ => {
            let labels: Vec<&str> =
                base.schema().fields.iter().filter(|field| field.limit.is_some()).map(|f| f.name.as_str()).collect();
            Err(DataError::value(format!("`{field}` is no class label")).help(suggestion(field, &labels)))
        }
    }
}

/// An order in which every stretch holds the classes in the shares they have in the whole: each class is spread evenly
/// over the unit interval.
fn interleave(base: &dyn Dataset, field: &str, places: Vec<Place>) -> Result<Vec<Place>, DataError> {
    let classes = classes_of(base, field, &places)?;
    let sizes = sizes(&classes);
    let mut seen = vec![0usize; sizes.len()];
    let mut spread: Vec<(f64, usize, Place)> = Vec::with_capacity(places.len());
    for (class, place) in classes.iter().zip(places) {
        spread.push(((seen[*class] as f64 + 0.5) / sizes[*class] as f64, *class, place));
        seen[*class] += 1;
    }
    spread.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    Ok(spread.into_iter().map(|(_, _, place)| place).collect())
}

/// Records of each class.
fn sizes(classes: &[usize]) -> Vec<usize> {
    let mut sizes = vec![0; classes.iter().max().map_or(0, |top| top + 1)];
    for class in classes {
        sizes[*class] += 1;
    }
    sizes
}

fn slice(base: Opened, options: &Options) -> Result<Opened, DataError> {
    let bound = |name| int(options, name).and_then(|n| usize::try_from(n).ok());
    let (Some(start), Some(stop)) = (bound("start"), bound("stop")) else {
        return Err(DataError::value("`slice` needs two whole numbers").help("write `slice(0, 100)`"));
    };
    let on = text(options, "on").map(|name| base.schema().split_index(name)).transpose()?;
    let mut splits = all(&*base)?;
    for (_, (_, places)) in splits.iter_mut().enumerate().filter(|(at, _)| on.is_none_or(|on| on == *at)) {
        let stop = stop.min(places.len());
        *places = places[start.min(stop)..stop].to_vec();
    }
    Ok(Arc::new(Selected::new(base, splits)))
}

fn take(base: Opened, options: &Options) -> Result<Opened, DataError> {
    let named: Vec<(&str, &Setting)> = others(options, TAKE).collect();
    for (name, _) in &named {
        base.schema().split_index(name)?;
    }
    if named.is_empty() && !options.contains_key("count") {
        return Err(DataError::value("`take` needs a number").help("write `take(100)` or `take(train: 100)`"));
    }
    let on = text(options, "on").map(|name| base.schema().split_index(name)).transpose()?;
    let mut splits = all(&*base)?;
    for (at, (name, places)) in splits.iter_mut().enumerate() {
        let own = named.iter().find(|(named, _)| named == name).map(|(_, setting)| *setting);
        let common = options.get("count").filter(|_| on.is_none_or(|on| on == at));
        if let Some(amount) = own.or(common) {
            *places = fewer(&*base, options, name, std::mem::take(places), amount)?;
        }
    }
    Ok(Arc::new(Selected::new(base, splits)))
}

/// `amount` of the records of one split, or of each of its classes.
fn fewer(
    base: &dyn Dataset,
    options: &Options,
    name: &str,
    mut places: Vec<Place>,
    amount: &Setting,
) -> Result<Vec<Place>, DataError> {
    if int(options, "seed").is_some() || options.contains_key("per") {
        shuffle_places(&mut places, options, "take");
    }
    let Some(field) = text(options, "per") else {
        let wanted = shares([(name, amount)].into_iter(), places.len())
            .map_err(|error| error.help(format!("`{name}` has {} records: ask for fewer", count(places.len()))))?;
        places.truncate(wanted[0].1);
        return Ok(places);
    };
    let classes = classes_of(base, field, &places)?;
    let sizes = sizes(&classes);
    let names = &base.schema().field(field)?.classes;
    let mut left = vec![0usize; sizes.len()];
    for (class, size) in sizes.iter().enumerate().filter(|(_, size)| **size > 0) {
        let shown = names.get(class).map_or(class.to_string(), |name| format!("{class} ({name})"));
        let wanted = shares([(name, amount)].into_iter(), *size).map_err(|error| {
            let few = format!("class {shown} of `{name}` has {} records: ask for fewer", count(*size));
            error.help(few)
        })?;
        left[class] = wanted[0].1;
    }
    let mut classes = classes.into_iter();
    places.retain(|_| {
        let open = classes.next().map(|class| &mut left[class]).filter(|left| **left > 0);
        open.map(|left| *left -= 1).is_some()
    });
    Ok(places)
}

fn shuffle(base: Opened, options: &Options) -> Result<Opened, DataError> {
    let on = text(options, "on").map(|name| base.schema().split_index(name)).transpose()?;
    let mut splits = all(&*base)?;
    for (at, (_, places)) in splits.iter_mut().enumerate() {
        if on.is_none_or(|on| on == at) {
            shuffle_places(places, options, "shuffle");
        }
    }
    Ok(Arc::new(Selected::new(base, splits)))
}

/// `n(c) = most * ratio^(-c / (classes - 1))`.
fn long_tail(base: Opened, options: &Options) -> Result<Opened, DataError> {
    let ratio = float(options, "ratio").unwrap_or(1.0);
    if !ratio.is_finite() || ratio < 1.0 {
        return Err(DataError::value(format!("`ratio` must be at least 1, this is {ratio}")));
    }
    let field = text(options, "by").unwrap_or("label");
    let mut splits = all(&*base)?;
    let at = match text(options, "on") {
        Some(name) => base.schema().split_index(name)?,
        None => base.schema().split_index("train").unwrap_or(0),
    };
    let Some((_, places)) = splits.get_mut(at) else { return Err(DataError::no_split(base.schema(), "train")) };
    shuffle_places(places, options, "long_tail");
    let classes = classes_of(&*base, field, places)?;
    let sizes = sizes(&classes);
    let balanced = classes.len() / sizes.len().max(1);
    let most = positive(options, "most", usize::MAX)?.unwrap_or(balanced.max(1));
    let steps = sizes.len().saturating_sub(1).max(1) as f64;
    let tail = (0..sizes.len()).map(|class| most as f64 * ratio.powf(-(class as f64) / steps));
    // Rounded to the nearest, a class never vanishes.
    let mut left: Vec<usize> = tail.map(|records| (records.round() as usize).max(1)).collect();
    let mut classes = classes.into_iter();
    places.retain(|_| {
        let open = classes.next().map(|class| &mut left[class]).filter(|left| **left > 0);
        open.map(|left| *left -= 1).is_some()
    });
    Ok(Arc::new(Selected::new(base, splits)))
}
