// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why something was denied: one list for the whole product.
//!
//! The kernel's events, the proxy's answers, the log, the metrics and `keyward explain` all name a
//! denial by the same word. Names and numbers are stable: a reason is added at the end of its part
//! of the list and never renamed. The parts are types of their own, so that nothing can deny for a
//! reason that is not its business: no hook for a malformed header line, no gateway for a socket.

/// Slots of the kernel's counters: one for each reason that fits, and [`LOST_EVENTS`].
pub const COUNTERS: u32 = 64;

/// The counter of denials that found the ring buffer full. No reason has the number 0.
pub const LOST_EVENTS: u32 = 0;

/// A reason of any part, as the documentation and whoever reads a log see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The type that it is a variant of.
    pub part: &'static str,
    /// Its number.
    pub number: u16,
    /// Its stable name.
    pub name: &'static str,
    /// One sentence in plain words.
    pub sentence: &'static str,
}

impl Listed {
    /// The reason of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|it| it.name == name)
    }
}

/// Declares the list once: number, name, and one sentence for people; each part a type of its own.
macro_rules! reasons {
    ($($(#[$part_doc:meta])* $part:ident {
        $($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $sentence:literal;)+
    })+) => {
        $(
            $(#[$part_doc])*
            #[repr(u16)]
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
            pub enum $part {
                $($(#[$doc])* $variant = $number,)+
            }

            impl $part {
                /// Every reason of this part, in the order of the list.
                pub const ALL: &[Self] = &[$(Self::$variant,)+];

                /// The stable name.
                #[must_use]
                pub const fn name(self) -> &'static str {
                    match self { $(Self::$variant => $name,)+ }
                }

                /// One sentence in plain words.
                #[must_use]
                pub const fn sentence(self) -> &'static str {
                    match self { $(Self::$variant => $sentence,)+ }
                }

                /// The number, as events and counters have it.
                #[inline(always)]
                #[must_use]
                pub const fn number(self) -> u16 {
                    match self { $(Self::$variant => $number,)+ }
                }

                /// The reason of this part with this number.
                #[must_use]
                pub const fn from_number(number: u16) -> Option<Self> {
                    match number { $($number => Some(Self::$variant),)+ _ => None }
                }
            }

            impl core::fmt::Display for $part {
                fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                    f.write_str(self.name())
                }
            }
        )+

        impl Listed {
            /// The whole list, part by part.
            pub const ALL: &[Self] = &[$($(Self {
                part: stringify!($part),
                number: $number,
                name: $name,
                sentence: $sentence,
            },)+)+];
        }
    };
}

mod list;

pub use list::{Lack, Reason, Refusal, UpstreamFault};

impl Reason {
    /// Index into the kernel's counters. Only the kernel's own reasons have one.
    #[inline(always)]
    #[must_use]
    pub fn counter(self) -> Option<u32> {
        let number = u32::from(self.number());
        if number < COUNTERS {
            Some(number)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first and the last number of each part.
    const PARTS: [(&str, u16, u16); 4] = [
        ("Reason", 1, 127),
        ("Refusal", 128, 191),
        ("UpstreamFault", 192, 223),
        ("Lack", 224, 255),
    ];

    /// What two parts deny by the same word.
    const SHARED: &str = Reason::SecretLeak.name();

    #[test]
    fn numbers_and_names_are_unique() {
        for (at, listed) in Listed::ALL.iter().enumerate() {
            assert_ne!(u32::from(listed.number), LOST_EVENTS);
            for other in &Listed::ALL[at + 1..] {
                if listed.name == SHARED && other.name == SHARED {
                    assert_ne!(listed.part, other.part);
                    assert_eq!(listed.number, other.number);
                    assert_eq!(listed.sentence, other.sentence);
                } else {
                    assert_ne!(listed.number, other.number);
                    assert_ne!(listed.name, other.name);
                }
            }
        }
    }

    #[test]
    fn each_part_has_its_numbers() {
        for listed in Listed::ALL {
            let (_, first, last) = PARTS.iter().find(|it| it.0 == listed.part).unwrap();
            let is_own = (*first..=*last).contains(&listed.number);
            assert!(is_own || listed.name == SHARED, "{listed:?}");
        }
    }

    #[test]
    fn numbers_and_names_go_both_ways() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_number(reason.number()), Some(*reason));
        }
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::from_number(refusal.number()), Some(*refusal));
            assert_eq!(
                Listed::find(refusal.name()).unwrap().sentence,
                refusal.sentence()
            );
        }
        // The kernel reports denials of its own and of the doors; another number is no event's.
        assert_eq!(Reason::from_number(Refusal::RequestLine.number()), None);
        assert_eq!(Listed::find("no_such_reason"), None);
    }

    #[test]
    fn names_are_plain_and_sentences_are_sentences() {
        for listed in Listed::ALL {
            // A feature's name is what is written after `--allow-degraded`.
            let hyphen = if listed.part == "Lack" { b'-' } else { b'_' };
            let plain = |b: u8| b.is_ascii_lowercase() || b == hyphen || b.is_ascii_digit();
            assert!(listed.name.bytes().all(plain), "{listed:?}");
            assert!(listed.sentence.ends_with('.'), "{listed:?}");
            let capital = |it: char| it.is_ascii_uppercase();
            assert!(listed.sentence.starts_with(capital), "{listed:?}");
        }
    }

    #[test]
    fn counters_are_the_numbers_of_the_kernels_reasons() {
        for reason in Reason::ALL {
            let number = u32::from(reason.number());
            assert_eq!(reason.counter(), (number < COUNTERS).then_some(number));
        }
    }
}
