// What the `verdict` fields of messages.def say.
#ifndef IPC_VERDICTS_H
#define IPC_VERDICTS_H

// found, resolved: where mail for an address goes.
enum lookup_verdict {
    LOOKUP_LOCAL,        // to the mailbox that the message names
    LOOKUP_NO_SUCH_USER, // the domain is ours, the user is not there
    LOOKUP_NOT_HOSTED,   // the domain is not ours
    LOOKUP_TROUBLE,      // the directory cannot say now: 4yz, never 5yz
    LOOKUP_LOCKED,       // local, but an administrator locked the mailbox
    LOOKUP_MOVED,        // the user has gone to another address, and mail does not follow
    LOOKUP_FORWARDED,    // found: mail follows to the address that the message names
    LOOKUP_EXPANDED,     // resolved: to the mailboxes of `targets`
    LOOKUP_FULL,         // found: local, but what the mailbox holds leaves no room
    LOOKUP_LOOP,         // the way through aliases does not end: 4yz, it can be mended
};

// committed, sliced: `status`.
enum submit_status {
    SUBMIT_OK = 250,
    SUBMIT_TROUBLE = 451,  // 4.3.0
    SUBMIT_NO_SPACE = 452, // 4.3.1
    SUBMIT_TOO_MANY = 453, // 4.5.3: its aliases stand for more than an envelope holds
    SUBMIT_LOOP = 554,     // 5.4.6: it was delivered here to all whom it would go to again
};

// delivered: of each delivery.
enum delivery_outcome {
    DELIVERY_DONE,
    DELIVERY_LATER,   // the text says why
    DELIVERY_DAMAGED, // the body is not what was committed: an administrator must look at it
};

// checked, admitted.
enum login_verdict {
    LOGIN_OK = 0,
    LOGIN_WRONG = 1,   // no such user, or another password: never told apart
    LOGIN_TROUBLE = 2, // cannot say now: -ERR [SYS/TEMP]
    LOGIN_IN_USE = 3,  // the mailbox is open in another session: -ERR [IN-USE]
};

#endif
