//! New tokens: made here, shown once, kept only as a hash.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use heliograph_domain::{
    event_id::token_hash,
    registry::{API_TOKEN_PREFIX, UPLOAD_TOKEN_PREFIX},
};

/// What a token is for stands in front of it, so that one found in a file says what it is.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    SiteUpload,
    Api,
}

/// A new token and the hash that the registry keeps. Not `Debug`: it must not get into a log.
pub struct NewToken {
    pub token: String,
    pub hash: String,
}

/// 256 bits of chance.
pub fn new(kind: Kind) -> NewToken {
    let prefix = match kind {
        Kind::SiteUpload => UPLOAD_TOKEN_PREFIX,
        Kind::Api => API_TOKEN_PREFIX,
    };
    let token = format!("{prefix}{}", BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
    let hash = token_hash(&token);
    NewToken { token, hash }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_its_prefix_and_is_never_the_same() {
        let (a, b) = (new(Kind::SiteUpload), new(Kind::SiteUpload));
        assert!(a.token.starts_with("hg_site_"));
        assert_eq!(a.token.len(), "hg_site_".len() + 43);
        assert_ne!(a.token, b.token);
        assert_eq!(a.hash, token_hash(&a.token));
        assert!(new(Kind::Api).token.starts_with("hg_api_"));
    }
}
