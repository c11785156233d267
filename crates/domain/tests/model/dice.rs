//! Chance that is a function of its seed.

/// A small generator of numbers (`xorshift64*`).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Seeds that are close to each other give nothing alike.
    pub fn new(seed: u64) -> Self {
        let mixed = (seed ^ 0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mut dice = Self((mixed ^ (mixed >> 31)).max(1));
        dice.throw();
        dice
    }

    fn throw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A seed for another one.
    pub fn seed(&mut self) -> u64 {
        self.throw()
    }

    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.throw() >> 33).expect("31 bits") % end
    }

    pub fn of<'t, T>(&mut self, things: &'t [T]) -> &'t T {
        &things[self.below(things.len())]
    }

    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for place in (1..things.len()).rev() {
            things.swap(place, self.below(place + 1));
        }
    }
}
