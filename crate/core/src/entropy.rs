//! Many random values from the 32 random bytes that a host gives once.

/// Derives values that are as random as the bytes given, each for one use.
#[derive(Debug, Clone)]
pub(crate) struct Entropy {
    key: [u8; 32],
    next: u64,
}

impl Entropy {
    /// Values for the purpose named by `context`; another purpose gives others.
    pub(crate) fn new(entropy: &[u8; 32], context: &str) -> Self {
        Self { key: *blake3::keyed_hash(entropy, context.as_bytes()).as_bytes(), next: 0 }
    }

    /// The next 16 bytes.
    pub(crate) fn id(&mut self) -> [u8; 16] {
        let hash = blake3::keyed_hash(&self.key, &self.next.to_le_bytes());
        self.next += 1;
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_bytes()[..16]);
        id
    }

    /// The next number.
    pub(crate) fn number(&mut self) -> u64 {
        let mut number = [0; 8];
        number.copy_from_slice(&self.id()[..8]);
        u64::from_le_bytes(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_and_every_purpose_differs() {
        let mut one = Entropy::new(&[7; 32], "one");
        let mut two = Entropy::new(&[7; 32], "two");
        let values = [one.id(), one.id(), two.id(), two.id(), Entropy::new(&[8; 32], "one").id()];
        for (index, value) in values.iter().enumerate() {
            assert!(!values[..index].contains(value));
        }
    }
}
