// Every sentence that the code shows. A file of another language has the same keys.
export const texts = {
  link_sent: "We sent you an e-mail. Open its link to sign in.",
  confirm_email: "We sent you an e-mail. Open its link to confirm your address.",
  signed_out: "You are signed out.",
  link_refused: "This link is no longer valid. Request a new one.",
  invalid_credentials: "E-mail or password is wrong.",
  email_not_confirmed: "Open the link that we sent to your e-mail address first.",
  user_already_exists: "There is an account with this e-mail. Sign in instead.",
  weak_password: "This password is too weak. Choose a longer one.",
  over_request_rate_limit: "Too many attempts. Wait a minute, then try again.",
  over_email_send_rate_limit: "Too many e-mails were sent. Wait a minute, then try again.",
  network: "There is no connection. Check your network, then try again.",
  password_missing: "Enter your password.",
  unknown: "This did not work. Try again.",
  continue_with: (name) => `Continue with ${name}`,
};
