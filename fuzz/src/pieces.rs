//! The pieces in which a stream may arrive.

/// Inputs up to this length are cut at every place.
const SHORT: usize = 64;

/// How a stream is cut.
#[derive(Debug, Clone, Copy)]
pub enum Cut {
    /// Not at all.
    Whole,
    /// After each octet.
    Octets,
    /// Once.
    At(usize),
}

impl Cut {
    /// The ways in which a stream of `length` octets is to be tried, the first of them whole.
    pub fn all(length: usize) -> impl Iterator<Item = Self> {
        // A longer one is cut at a few places that depend on its length alone.
        let places: Vec<_> = if length <= SHORT {
            (1..length).collect()
        } else {
            [2, 3, 7].map(|part| length / part).to_vec()
        };
        [Self::Whole, Self::Octets]
            .into_iter()
            .chain(places.into_iter().map(Self::At))
    }

    /// The pieces of `stream`, none of them empty. `offset` is where it stands in the input.
    pub fn pieces(self, stream: &[u8], offset: usize) -> Vec<&[u8]> {
        let pieces = match self {
            Self::Whole => vec![stream],
            Self::Octets => stream.chunks(1).collect(),
            Self::At(place) => {
                let place = place.saturating_sub(offset).min(stream.len());
                let (head, tail) = stream.split_at(place);
                vec![head, tail]
            }
        };
        pieces
            .into_iter()
            .filter(|piece| !piece.is_empty())
            .collect()
    }
}

/// Runs `outcome` for every cut and asserts that it is the same for all; gives it.
pub fn same_for_every_cut<T: PartialEq + std::fmt::Debug>(
    length: usize,
    mut outcome: impl FnMut(Cut) -> T,
) -> T {
    let mut cuts = Cut::all(length);
    let whole = outcome(cuts.next().unwrap());
    for cut in cuts {
        assert_eq!(outcome(cut), whole, "cut {cut:?} (left) or not (right)");
    }
    whole
}

/// Splits a header of `N` octets off an input; what is missing is 0.
pub fn header<const N: usize>(input: &[u8]) -> ([u8; N], &[u8]) {
    let (head, rest) = input.split_at(N.min(input.len()));
    let mut header = [0; N];
    header[..head.len()].copy_from_slice(head);
    (header, rest)
}

/// `text` is complete lines of printable text, each ended by CRLF; empty is none of them.
pub fn assert_lines(text: &[u8]) {
    if text.is_empty() {
        return;
    }
    let body = text.strip_suffix(b"\r\n").unwrap_or_else(|| {
        panic!("not a complete line: {:?}", String::from_utf8_lossy(text));
    });
    for line in String::from_utf8_lossy(body).split("\r\n") {
        assert!(
            !line.chars().any(char::is_control),
            "a control character in {line:?}"
        );
    }
}

/// Whether `needle` stands anywhere in `haystack`.
pub fn contains(haystack: &[u8], needle: &str) -> bool {
    // The standard library's search is fast in debug builds as well.
    String::from_utf8_lossy(haystack).contains(needle)
}
