//! `Debug` of the answers that carry a token: written by hand, so that no log line, no panic and
//! no `{:?}` shows one.

use crate::v1;
use std::fmt;

/// In the place of a token. `build.rs` leaves `Debug` of the messages below to this file.
struct Hidden(bool);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { "none" } else { "hidden" })
    }
}

impl fmt::Debug for v1::PutSiteResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = Hidden(self.token.is_empty());
        f.debug_struct("PutSiteResponse").field("token", &token).finish()
    }
}

impl fmt::Debug for v1::RotateSiteTokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = Hidden(self.token.is_empty());
        f.debug_struct("RotateSiteTokenResponse").field("token", &token).finish()
    }
}

impl fmt::Debug for v1::CreateApiTokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateApiTokenResponse")
            .field("token", &Hidden(self.token.is_empty()))
            .field("token_id", &self.token_id)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    /// Every message of ours with a field `token`, made from the descriptors.
    #[test]
    fn no_message_that_carries_a_token_shows_it() {
        let secret = || "hg_site_secret".to_owned();
        let shown = [
            ("PutSiteResponse", format!("{:?}", v1::PutSiteResponse { token: secret() })),
            (
                "RotateSiteTokenResponse",
                format!("{:?}", v1::RotateSiteTokenResponse { token: secret() }),
            ),
            (
                "CreateApiTokenResponse",
                format!(
                    "{:#?}",
                    v1::CreateApiTokenResponse { token: secret(), ..Default::default() }
                ),
            ),
        ];
        for (name, text) in &shown {
            assert!(text.contains("hidden") && !text.contains("secret"), "{name}: {text}");
        }
        let set = prost_types::FileDescriptorSet::decode(v1::FILE_DESCRIPTOR_SET).unwrap();
        let ours = set.file.iter().filter(|file| file.package() == "heliograph.v1");
        for message in ours.flat_map(|file| &file.message_type) {
            if message.field.iter().any(|field| field.name() == "token") {
                let known = shown.iter().any(|(name, _)| *name == message.name());
                assert!(known, "{} carries a token; hide it here", message.name());
            }
        }
    }
}
