//! The groups of RFC 7919, and the key exchange in them.

use alloc::vec;
use alloc::vec::Vec;

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd};
use zeroize::Zeroizing;

use super::Random;

/// Groups of the key exchange, by their identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Group {
    /// No key exchange.
    Null = 0,
    /// ffdhe2048.
    Ffdhe2048 = 1,
    /// ffdhe3072.
    Ffdhe3072 = 2,
    /// ffdhe4096.
    Ffdhe4096 = 3,
    /// ffdhe6144.
    Ffdhe6144 = 4,
    /// ffdhe8192.
    Ffdhe8192 = 5,
}

/// Bytes of an exponent: more than twice the strength of the largest group (RFC 7919, 5.2).
const EXPONENT: usize = 64;

impl Group {
    /// All, the smallest first.
    pub const ALL: [Self; 6] = [Self::Null, Self::Ffdhe2048, Self::Ffdhe3072, Self::Ffdhe4096, Self::Ffdhe6144, Self::Ffdhe8192];

    /// The one of this identifier.
    pub fn of(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|group| *group as u8 == id)
    }

    /// What configurations call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Ffdhe2048 => "ffdhe2048",
            Self::Ffdhe3072 => "ffdhe3072",
            Self::Ffdhe4096 => "ffdhe4096",
            Self::Ffdhe6144 => "ffdhe6144",
            Self::Ffdhe8192 => "ffdhe8192",
        }
    }

    /// Bytes of a number of the group.
    pub fn length(self) -> usize {
        self.prime().0
    }

    /// Bytes of the prime, and the constant that makes it one (RFC 7919, appendix A).
    fn prime(self) -> (usize, u32) {
        match self {
            Self::Null => (0, 0),
            Self::Ffdhe2048 => (256, 560_316),
            Self::Ffdhe3072 => (384, 2_625_351),
            Self::Ffdhe4096 => (512, 5_736_041),
            Self::Ffdhe6144 => (768, 15_705_020),
            Self::Ffdhe8192 => (1024, 10_965_728),
        }
    }

    /// The prime: ones, as many digits of e as fit and the constant added, and then less one, which
    /// makes the last 64 bits ones as well.
    fn modulus(self) -> Vec<u8> {
        let (len, constant) = self.prime();
        let mut bytes = vec![0xFF; len];
        let middle = &mut bytes[8..len - 8];
        middle.copy_from_slice(&E[..len - 16]);
        let mut carry = u64::from(constant) - 1;
        for byte in middle.iter_mut().rev() {
            carry += u64::from(*byte);
            *byte = carry as u8;
            carry >>= 8;
        }
        bytes
    }
}

/// One end of a key exchange. Computing takes a time that does not depend on the secret exponent,
/// and much of it: about a millisecond in the smallest group, tens of them in the largest.
pub(super) struct Exchange {
    params: BoxedMontyParams,
    exponent: BoxedUint,
    len: usize,
}

impl Exchange {
    /// With an exponent of its own; `None` where there is nothing to exchange.
    pub(super) fn new(group: Group, random: Random<'_>) -> Option<Self> {
        if group == Group::Null {
            return None;
        }
        let mut exponent = Zeroizing::new([0; EXPONENT]);
        random(&mut exponent[..]);
        Self::with(group, &exponent)
    }

    fn with(group: Group, exponent: &[u8; EXPONENT]) -> Option<Self> {
        let len = group.length();
        let modulus = Odd::new(number(&group.modulus())?).into_option()?;
        Some(Self { params: BoxedMontyParams::new_vartime(modulus), exponent: number(exponent)?, len })
    }

    /// What is told to the other end.
    pub(super) fn public(&self) -> Vec<u8> {
        let mut two = vec![0; self.len];
        two[self.len - 1] = 2;
        self.power(&two).unwrap_or_default().to_vec()
    }

    /// What both ends have, of what the other end told; `None` if that is no number of the group
    /// from which a secret comes (RFC 7919, 5.1).
    pub(super) fn shared(&self, public: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let value = number(public).filter(|_| public.len() == self.len)?;
        let one = BoxedUint::one_with_precision(value.bits_precision());
        let last = self.params.modulus().as_ref().wrapping_sub(&one);
        if value <= one || value >= last {
            return None;
        }
        self.power(public)
    }

    fn power(&self, base: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let power = BoxedMontyForm::new(number(base)?, &self.params).pow(&self.exponent).retrieve();
        Some(Zeroizing::new(power.to_be_bytes().to_vec()))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.exponent);
    }
}

impl core::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Exchange of {} bytes", self.len)
    }
}

fn number(bytes: &[u8]) -> Option<BoxedUint> {
    BoxedUint::from_be_slice(bytes, bytes.len() as u32 * 8).ok()
}

/// The first 8,064 bits of e, from which all of the primes are made.
static E: [u8; 1008] = hex(b"\
      adf85458a2bb4a9aafdc5620273d3cf1d8b9c583ce2d3695a9e13641146433fbcc939dce249b3ef97d2fe363630c75d8\
      f681b202aec4617ad3df1ed5d5fd65612433f51f5f066ed0856365553ded1af3b557135e7f57c935984f0c70e0e68b77\
      e2a689daf3efe8721df158a136ade73530acca4f483a797abc0ab182b324fb61d108a94bb2c8e3fbb96adab760d7f468\
      1d4f42a3de394df4ae56ede76372bb190b07a7c8ee0a6d709e02fce1cdf7e2ecc03404cd28342f619172fe9ce98583ff\
      8e4f1232eef28183c3fe3b1b4c6fad733bb5fcbc2ec22005c58ef1837d1683b2c6f34a26c1b2effa886b4238611fcfdc\
      de355b3b6519035bbc34f4def99c023861b46fc9d6e6c9077ad91d2691f7f7ee598cb0fac186d91caefe130985139270\
      b4130c93bc437944f4fd4452e2d74dd364f2e21e71f54bff5cae82ab9c9df69ee86d2bc522363a0dabc521979b0deada\
      1dbf9a42d5c4484e0abcd06bfa53ddef3c1b20ee3fd59d7c25e41d2b669e1ef16e6f52c3164df4fb7930e9e4e58857b6\
      ac7d5f42d69f6d187763cf1d5503400487f55ba57e31cc7a7135c886efb4318aed6a1e012d9e6832a907600a918130c4\
      6dc778f971ad0038092999a333cb8b7a1a1db93d7140003c2a4ecea9f98d0acc0a8291cdcec97dcf8ec9b55a7f88a46b\
      4db5a851f44182e1c68a007e5e0dd9020bfd64b645036c7a4e677d2c38532a3a23ba4442caf53ea63bb454329b7624c8\
      917bdd64b1c0fd4cb38e8c334c701c3acdad0657fccfec719b1f5c3e4e46041f388147fb4cfdb477a52471f7a9a96910\
      b855322edb6340d8a00ef092350511e30abec1fff9e3a26e7fb29f8c183023c3587e38da0077d9b4763e4e4b94b2bbc1\
      94c6651e77caf992eeaac0232a281bf6b3a739c1226116820ae8db5847a67cbef9c9091b462d538cd72b03746ae77f5e\
      62292c311562a846505dc82db854338ae49f5235c95b91178ccf2dd5cacef403ec9d1810c6272b045b3b71f9dc6b80d6\
      3fdd4a8e9adb1e6962a69526d43161c1a41d570d7938dad4a40e329ccff46aaa36ad004cf600c8381e425a31d951ae64\
      fdb23fcec9509d43687feb69edd1cc5e0b8cc3bdf64b10ef86b63142a3ab8829555b2f747c932665cb2c0f1cc01bd702\
      29388839d2af05e454504ac78b7582822846c0ba35c35f5c59160cc046fd8251541fc68c9c86b022bb7099876a460e74\
      51a8a93109703fee1c217e6c3826e52c51aa691e0e423cfc99e9e31650c1217b624816cdad9a95f9d5b8019488d9c0a0\
      a1fe3075a577e23183f81d4a3f2fa4571efc8ce0ba8a4fe8b6855dfe72b0a66eded2fbabfbe58a30fafabe1c5d71a87e\
      2f741ef8c1fe86fea6bbfde530677f0d97d11d49f7a8443d0822e506a9f4614e011e2a94838ff88cd68c8bb7c51eef6d");

const fn hex<const N: usize>(text: &[u8]) -> [u8; N] {
    const fn digit(digit: u8) -> u8 {
        if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 }
    }
    assert!(text.len() == 2 * N);
    let (mut bytes, mut at) = ([0; N], 0);
    while at < N {
        bytes[at] = digit(text[2 * at]) << 4 | digit(text[2 * at + 1]);
        at += 1;
    }
    bytes
}

#[cfg(test)]
pub(super) mod tests {
    use alloc::format;
    use alloc::string::String;

    use sha2::{Digest, Sha256};

    use super::*;

    fn sum(bytes: &[u8]) -> String {
        Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The exponent that is this number.
    fn exponent(number: u32) -> [u8; EXPONENT] {
        let mut bytes = [0; EXPONENT];
        bytes[EXPONENT - 4..].copy_from_slice(&number.to_be_bytes());
        bytes
    }

    /// What 2 to the powers 0x1234567 and 0x89abcde is in the smallest group.
    pub(in super::super) fn shared() -> Zeroizing<Vec<u8>> {
        let (one, two) = [0x0123_4567, 0x089a_bcde].map(|it| Exchange::with(Group::Ffdhe2048, &exponent(it)).unwrap()).into();
        one.shared(&two.public()).unwrap()
    }

    /// The last 64 bits before the ones, as RFC 7919 prints them, and sums of whole primes computed
    /// from the formula of its appendix A elsewhere.
    #[test]
    fn s343_the_primes_are_those_of_the_rfc() {
        for (group, tail, wanted) in [
            (Group::Ffdhe2048, 0x886B_4238_6128_5C97_u64, "9cd3b7f336872f46c09428d1bbc19877a4d440512cda8d1c1cf0cd6e33698966"),
            (Group::Ffdhe3072, 0x25E4_1D2B_66C6_2E37, "0eaf67db3a839156d5013494a5318a772b5697d270d721f37f092efc69ea5a17"),
            (Group::Ffdhe4096, 0xC68A_007E_5E65_5F6A, "4648414224ac881b3d0dc59b466f96d06a558278776807797ecf1f66ff397b3e"),
            (Group::Ffdhe6144, 0xA40E_329C_D0E4_0E65, "227ac9066b3ddd9e193670cda2388fa884f65ba0cf98b742d1fe77a6687c79c7"),
            (Group::Ffdhe8192, 0xD68C_8BB7_C5C6_424C, "770b14efaf6f049929c523113b3fa99a8d11dab1b18af3609590122075d19833"),
        ] {
            let prime = group.modulus();
            assert_eq!(prime[prime.len() - 16..prime.len() - 8], tail.to_be_bytes(), "{group:?}");
            assert_eq!(sum(&prime), wanted, "{group:?}");
        }
    }

    /// Powers computed with another implementation of whole numbers.
    #[test]
    fn s343_both_ends_have_the_same_secret() {
        let one: [u8; EXPONENT] = core::array::from_fn(|at| at as u8 + 1);
        let two: [u8; EXPONENT] = core::array::from_fn(|at| 64 - at as u8);
        for (group, public, shared) in [
            (
                Group::Ffdhe2048,
                "1908b0773912e53f8b481d76c9723f551e22e7edcee9e562bf0cc763a9ce3958",
                "da2e5a31108cb467718205688162911b67b0775bb6427693cc44e99296029eeb",
            ),
            (
                Group::Ffdhe3072,
                "e9f81f609bb558fd1ea247cff217d7681f14a9b132cb0c93203a873ad800ca24",
                "7ca8871c67094faa57d2d029157ddede14907ea9ad868e87a42b29a10b9b86f9",
            ),
            (
                Group::Ffdhe4096,
                "a53688d3a4d42b2c60ebff8551c83d059a0415eea23c365d1e190ebaff879f1c",
                "b423e866c604cc41468f35e233d5f96320623d8fc88dc45bc671e04b06abb6fb",
            ),
            (
                Group::Ffdhe6144,
                "21ff5bd61a7d69b1817b7ae910dc291ab6c5f4d60aa562b30c987dda2f0f9157",
                "332940455ad5fb10c840d23362c27930dd69a5d657415e44d025d9d2d0272f9f",
            ),
            (
                Group::Ffdhe8192,
                "b2f1e92b44e0a45ee7b23938bfd9be352a84ab3878fa0afae756e3c4f6999e9e",
                "2a6df4efba355cdb6e01ef0a30f59043e965e571a09a5f8d0b5b2a7ddccc6634",
            ),
        ] {
            let [one, two] = [one, two].map(|exponent| Exchange::with(group, &exponent).unwrap());
            assert_eq!(sum(&one.public()), public, "{group:?}");
            assert_eq!(sum(&one.shared(&two.public()).unwrap()), shared, "{group:?}");
            assert_eq!(one.shared(&two.public()), two.shared(&one.public()), "{group:?}");
        }
        assert_eq!(sum(&self::shared()), "2abdafb732d69e327aed776822bfafd82dc7586fd958296de8728f263207f2c9");
    }

    /// 0, 1 and the prime less one give a secret that anybody knows.
    #[test]
    fn s343_numbers_outside_of_the_group_are_refused() {
        let exchange = Exchange::with(Group::Ffdhe2048, &exponent(77)).unwrap();
        let prime = Group::Ffdhe2048.modulus();
        let small = |last: u8| {
            let mut bytes = vec![0; 256];
            bytes[255] = last;
            bytes
        };
        let less = |by: u8| {
            let mut bytes = prime.clone();
            bytes[255] -= by;
            bytes
        };
        for wrong in [small(0), small(1), less(1), prime.clone(), vec![0xFF; 256], vec![2; 255], vec![2; 257], Vec::new()] {
            assert!(exchange.shared(&wrong).is_none(), "{wrong:02x?}");
        }
        assert!(exchange.shared(&small(2)).is_some() && exchange.shared(&less(2)).is_some());
        assert!(Exchange::new(Group::Null, &mut |_| {}).is_none());
    }
}
