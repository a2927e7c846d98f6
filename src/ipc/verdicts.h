// What the `verdict` fields of messages.def say.
#ifndef IPC_VERDICTS_H
#define IPC_VERDICTS_H

// found, resolved: where mail for an address goes.
enum lookup_verdict {
    LOOKUP_LOCAL,        // to the mailbox that the message names
    LOOKUP_NO_SUCH_USER, // the domain is ours, the user is not there
    LOOKUP_NOT_HOSTED,   // the domain is not ours
    LOOKUP_TROUBLE,      // the directory cannot say now: 4yz, never 5yz
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
