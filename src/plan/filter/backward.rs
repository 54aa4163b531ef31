//! A BPF program under construction, from its last instruction to its first.
//!
//! Owns jump distances. Must not know what the program is for. Classic BPF only jumps forward and a comparison only
//! 255 instructions far; written backward, every target exists before the jump to it, so a far one is seen at once.

use super::Instruction;

const LOAD_WORD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_GREATER_OR_EQUAL: u16 = 0x35;
const JUMP_IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// How far a comparison can jump, less the two instructions that bridging its targets may put in between.
const REACH: usize = u8::MAX as usize - 2;

/// A comparison of the loaded word with a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jump {
    /// They are equal.
    Equal,
    /// The word is not below.
    GreaterOrEqual,
    /// They have a bit in common.
    AnyBit,
}

/// Where execution goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The instruction emitted last, which is the next one in the program.
    Next,
    /// An instruction emitted before, counted from the end of the program.
    Place(usize),
    /// The program ends with this answer.
    Answer(u32),
}

/// The instructions so far, last one first.
#[derive(Debug, Default)]
pub struct Backward {
    reversed: Vec<Instruction>,
}

impl Backward {
    /// Emits a comparison; both of its ways go to what has been emitted before.
    pub fn compare(&mut self, jump: Jump, with: u32, then: Target, otherwise: Target) -> Target {
        let (then, otherwise) = (self.settled(then), self.settled(otherwise));
        let (then, otherwise) = (self.bridged(then), self.bridged(otherwise));
        let code = match jump {
            Jump::Equal => JUMP_IF_EQUAL,
            Jump::GreaterOrEqual => JUMP_IF_GREATER_OR_EQUAL,
            Jump::AnyBit => JUMP_IF_ANY_BIT,
        };
        let (jt, jf) = (self.distance(then) as u8, self.distance(otherwise) as u8);
        self.push(Instruction { code, jt, jf, k: with })
    }

    /// Emits the load of a word of the call, after which `then` runs.
    pub fn load(&mut self, offset: u32, then: Target) -> Target {
        self.lead_to(then);
        self.push(Instruction { code: LOAD_WORD, jt: 0, jf: 0, k: offset })
    }

    /// Emits the load of some bits of a word, after which `then` runs.
    pub fn load_masked(&mut self, offset: u32, mask: u32, then: Target) -> Target {
        self.lead_to(then);
        let and = match mask {
            u32::MAX => Target::Next,
            _ => self.push(Instruction { code: AND, jt: 0, jf: 0, k: mask }),
        };
        self.load(offset, and)
    }

    /// The program, first instruction first.
    pub fn finish(mut self) -> Vec<Instruction> {
        self.reversed.reverse();
        self.reversed
    }

    /// Makes the instruction emitted next fall through to `target`.
    fn lead_to(&mut self, target: Target) {
        let next = self.reversed.len().checked_sub(1);
        match self.settled(target) {
            Target::Place(place) if Some(place) == next => {}
            Target::Answer(answer) => {
                self.push(Instruction { code: RETURN, jt: 0, jf: 0, k: answer });
            }
            Target::Place(place) => {
                let k = self.distance(place) as u32;
                self.push(Instruction { code: JUMP, jt: 0, jf: 0, k });
            }
            Target::Next => {}
        }
    }

    /// `Next` as the place that it means now, before more is emitted.
    fn settled(&self, target: Target) -> Target {
        match target {
            Target::Next => Target::Place(self.reversed.len().saturating_sub(1)),
            settled => settled,
        }
    }

    /// A place within reach that does what `target` does: itself, an equal return, or a bridge emitted now.
    fn bridged(&mut self, target: Target) -> usize {
        match target {
            Target::Place(place) if self.distance(place) < REACH => place,
            Target::Place(place) => {
                let k = self.distance(place) as u32;
                self.emit(Instruction { code: JUMP, jt: 0, jf: 0, k })
            }
            Target::Answer(answer) => {
                let wanted = Instruction { code: RETURN, jt: 0, jf: 0, k: answer };
                let near = self.reversed.len().saturating_sub(REACH);
                let known = self.reversed.iter().skip(near).position(|instruction| *instruction == wanted);
                known.map_or_else(|| self.emit(wanted), |index| near + index)
            }
            Target::Next => self.reversed.len().saturating_sub(1),
        }
    }

    /// How many instructions one emitted now would skip to get to `place`.
    fn distance(&self, place: usize) -> usize {
        self.reversed.len().saturating_sub(1).saturating_sub(place)
    }

    fn emit(&mut self, instruction: Instruction) -> usize {
        self.reversed.push(instruction);
        self.reversed.len() - 1
    }

    fn push(&mut self, instruction: Instruction) -> Target {
        Target::Place(self.emit(instruction))
    }
}
