/* Safety and liveness model of a change of validators: one epoch's end and the next one's begin.
 *
 * Four validators, quorum 3. Node 3 is byzantine; honest 2 is replaced by honest 4 when the epoch changes: old set {0,1,2,3}, new set
 * {0,1,4,3}. As in simplex.pml, byzantine votes are assumed present for everything, and an honest node may use any certificate that
 * could be formed, at any time or never: messages need no model of their own.
 *
 * Blocks (0 is the genesis; parents are chosen at the start; E1 and E2 carry nextValidators, so they end the epoch):
 *   1 E1 view 1   2 S1 view 1   3 E2 view 2   4 S2 view 2   5 S3 view 3   6,7 first view of the new epoch   8,9 its second view
 * Ballots (what is voted on; an ending block can be voted on again in later views: re-proposed):
 *   view 1: 0 E1, 1 S1    view 2: 2 E2, 3 S2, 4 E1 again    view 3: 5 S3, 6 E1 again, 7 E2 again
 *   new epoch: 8 and 9 (blocks 6, 7), 10 and 11 (blocks 8, 9)
 * A run has one `start`, the ending block that the new epoch starts from. Were two of them final, that alone would be a fork.
 *
 * ORDER. Rules for a vote of one view ask for certificates of earlier views (more of which never hurt) and for the node's own votes of
 * the same view. So any run can be sorted by views without changing what it ends in, and all that later views see of a view is which
 * certificates could be formed. Unless FREE is set, views are therefore gone through in order, and a view that is done keeps only its
 * certificates. What breaks the argument (REMOVED, whose votes come after later ones) sets FREE.
 *
 * Each of these must be violated:
 *   -DSTART      the new epoch starts from an ending block that is only notarized (with -DFORKONLY: this ends in a fork)
 *   -DNOGAP      a new block needs no nullify certificates for the views between
 *   -DCHILD      an ending block may have a child in its own epoch
 *   -DREGAP      a re-proposal needs no nullify certificates for the views between
 *   -DMERGE      finalize votes for one block in different views count together
 *   -DNOEPOCH    nullify votes don't carry the epoch: those of view v count in the next epoch's view v
 *   -DNB=2       two byzantine of four
 *   -DNB=0 -DREMOVED=2   two (more than f) replaced at once, whose keys turn byzantine when the new epoch has begun
 *   -DNB=1 -DREMOVED=1   one replaced, whose key turns byzantine, beside one that was byzantine: two of one set, sooner or later
 *   -DLIVE -DNOREPROPOSE  ending blocks are not re-proposed
 *   -DLIVE -DEAGER        finalize is voted with notarize, before the certificate
 * and these must not:  (nothing), -DLIVE, -DFREE -DSMALL, -DNB=0 -DREMOVED=1 -DSMALL. SMALL leaves out the old epoch's view 3,
 * FREE the new epoch's second view, REMOVED and LIVE the new epoch.
 */
#ifndef NB
#define NB 1
#endif
#ifndef REMOVED
#define REMOVED 0
#endif
#if REMOVED > 0 && !defined(FREE)
#define FREE
#endif
#define Q 3
#define EVERYONE 31
#define BALLOTS 12

byte nota[BALLOTS];  /* bit mask of honest voters, per ballot */
byte fin[BALLOTS];
byte nul[6];         /* per view: 1 to 3 of the old epoch, 4 and 5 for the new one's first and second */
byte par[10];        /* parent of each block */
byte start;          /* 1 or 3: the new epoch's parent */
bit turned;          /* the removed keys are in other hands */
byte view = 1;       /* the view whose votes are cast now, unless FREE */
hidden byte isFinal[10];
hidden byte lower, upper, walk, k;
#ifdef LIVE
bit heldN[BALLOTS];  /* certificates in honest hands */
bit heldK[6];
#endif

#define BIT(m,i) (((m)>>(i))&1)
/* Votes counted: byzantine ones always, those of removed keys since they turned. */
#if NB == 0
#define OLD(m) (BIT(m,0) + BIT(m,1) + (turned || BIT(m,2)) + ((turned && REMOVED==2) || BIT(m,3)))
#define NEW(m) (BIT(m,0) + BIT(m,1) + BIT(m,4) + 1)
#elif NB == 1
#define OLD(m) (BIT(m,0) + BIT(m,1) + (turned || BIT(m,2)) + 1)
#define NEW(m) (BIT(m,0) + BIT(m,1) + BIT(m,4) + 1)
#else
#define OLD(m) (BIT(m,0) + BIT(m,1) + 2)
#define NEW(m) (BIT(m,0) + BIT(m,1) + 2)
#endif
#define COUNT(b,m) ((b)<8 -> OLD(m) : NEW(m))

/* Certificates that could be formed: notarize and finalize of a ballot, nullify of a view. */
#define CN(b) (COUNT(b,nota[b])>=Q)
#define CF(b) (COUNT(b,fin[b])>=Q)
#ifdef NOEPOCH
/* The new epoch's first view has the number after that of `start`: 2 or 3. */
#define STALE(v) ((v)==4 -> (start==1 -> nul[2]&3 : nul[3]&3) : ((v)==5 && start==1 -> nul[3]&3 : 0))
#define CK(v) ((v)<4 -> OLD(nul[v])>=Q : NEW(nul[v]|STALE(v))>=Q)
#else
#define CK(v) ((v)<4 -> OLD(nul[v])>=Q : NEW(nul[v])>=Q)
#endif

/* Final by a certificate of its own. */
#ifdef MERGE
#define FIN1 (OLD(fin[0]|fin[4]|fin[6])>=Q)
#define FIN3 (OLD(fin[2]|fin[7])>=Q)
#else
#define FIN1 (CF(0) || CF(4) || CF(6))
#define FIN3 (CF(2) || CF(7))
#endif
#define STARTFINAL (start==1 -> FIN1 : FIN3)
#ifdef START
#define STARTED (start==1 -> (CN(0) || CN(4) || CN(6)) : (CN(2) || CN(7)))
#else
#define STARTED STARTFINAL
#endif

/* What justifies a ballot. N and K say which certificates there are: those that could be formed, or (LIVE) those in honest hands. */
#ifdef NOGAP
#define GAP(condition) 1
#else
#define GAP(condition) (condition)
#endif
#ifdef REGAP
#define REGAPPED(condition) 1
#else
#define REGAPPED(condition) (condition)
#endif
#ifdef CHILD
#define CHILDOF(condition) (condition)
#else
#define CHILDOF(condition) 0
#endif
#ifdef NOREPROPOSE
#define AGAIN(condition) 0
#else
#define AGAIN(condition) (condition)
#endif
#define FRESH2(p,N,K) (((p)==0 && GAP(K(1))) || ((p)==2 && N(1)) || ((p)==1 && CHILDOF(N(0))))
#define FRESH3(p,N,K) (((p)==0 && GAP(K(1) && K(2))) || ((p)==2 && N(1) && GAP(K(2))) || ((p)==4 && N(3)) \
  || ((p)==1 && CHILDOF(N(4) || (N(0) && GAP(K(2))))) || ((p)==3 && CHILDOF(N(2))))
#define E1IN2(N,K) AGAIN(N(0))
#define E1IN3(N,K) AGAIN(N(4) || (N(0) && REGAPPED(K(2))))
#define E2IN3(N,K) AGAIN(N(2))
#define FIRST STARTED
#define SECOND(p) (((p)==start && STARTED && CK(4)) || ((p)==6 && CN(8)) || ((p)==7 && CN(9)))

/* Whether node i voted notarize in a view. */
#define IN1(i) BIT(nota[0]|nota[1],i)
#define IN2(i) BIT(nota[2]|nota[3]|nota[4],i)
#define IN3(i) BIT(nota[5]|nota[6]|nota[7],i)
#define IN4(i) BIT(nota[8]|nota[9],i)
#define IN5(i) BIT(nota[10]|nota[11],i)
#ifdef FREE
#define NOW(v) 1
#else
#define NOW(v) (view==(v))
#endif
#ifdef EAGER
#define SEEN(b) 1
#else
#define SEEN(b) CN(b)
#endif

/* Two final blocks, neither an ancestor of the other: a parent's number is always the lower one. */
inline checkFork() {
  isFinal[1] = FIN1; isFinal[2] = CF(1); isFinal[3] = FIN3; isFinal[4] = CF(3); isFinal[5] = CF(5);
  isFinal[6] = CF(8); isFinal[7] = CF(9); isFinal[8] = CF(10); isFinal[9] = CF(11);
  lower = 1;
  do
  :: lower < 9 ->
     upper = lower + 1;
     do
     :: upper <= 9 ->
        if
        :: isFinal[lower] && isFinal[upper] ->
           walk = upper;
           do :: walk > lower -> walk = par[walk] :: else -> break od;
           assert(walk == lower)  /* no two conflicting final blocks, over both epochs */
        :: else
        fi;
        upper++
     :: else -> break
     od;
     lower++
  :: else -> break
  od;
  lower = 0
}

#ifdef FORKONLY
#define CERTIFIED(b) 1
#else
#define CERTIFIED(b) ((b) < 8 || !CN(b) || STARTFINAL)  /* nothing of the next epoch is certified unless the ending block is final */
#endif
/* Macros, not inlines: Spin's inlines take no arguments of this length. */
#define notarize(i,b,v,voted,justified) d_step { \
  (NOW(v) && !(voted) && (justified)) -> nota[b] = nota[b] | (1<<i); assert(CERTIFIED(b)) }
#define finalize(i,b,v) d_step { \
  (NOW(v) && BIT(nota[b],i) && !BIT(fin[b],i) && !BIT(nul[v],i) && SEEN(b)) -> fin[b] = fin[b] | (1<<i); checkFork() }
#define nullify(i,v,final) d_step { (NOW(v) && !BIT(nul[v],i) && !BIT(final,i)) -> nul[v] = nul[v] | (1<<i) }

#define VIEW1(i) :: notarize(i,0,1,IN1(i),1) :: notarize(i,1,1,IN1(i),1) \
  :: finalize(i,0,1) :: finalize(i,1,1) :: nullify(i,1,fin[0]|fin[1])
#define VIEW2(i) :: notarize(i,2,2,IN2(i),FRESH2(par[3],CN,CK)) :: notarize(i,3,2,IN2(i),FRESH2(par[4],CN,CK)) \
  :: notarize(i,4,2,IN2(i),E1IN2(CN,CK)) \
  :: finalize(i,2,2) :: finalize(i,3,2) :: finalize(i,4,2) :: nullify(i,2,fin[2]|fin[3]|fin[4])
#define VIEW3(i) :: notarize(i,5,3,IN3(i),FRESH3(par[5],CN,CK)) \
  :: notarize(i,6,3,IN3(i),E1IN3(CN,CK)) :: notarize(i,7,3,IN3(i),E2IN3(CN,CK)) \
  :: finalize(i,5,3) :: finalize(i,6,3) :: finalize(i,7,3) :: nullify(i,3,fin[5]|fin[6]|fin[7])
#define VIEW4(i) :: notarize(i,8,4,IN4(i),FIRST) :: notarize(i,9,4,IN4(i),FIRST) \
  :: finalize(i,8,4) :: finalize(i,9,4) :: nullify(i,4,fin[8]|fin[9])
#define VIEW5(i) :: notarize(i,10,5,IN5(i),SECOND(par[8])) :: notarize(i,11,5,IN5(i),SECOND(par[9])) \
  :: finalize(i,10,5) :: finalize(i,11,5) :: nullify(i,5,fin[10]|fin[11])
#if REMOVED > 0 || defined(LIVE)
/* Old votes don't look at the new epoch: it adds nothing to what turned keys can do to the old one, nor to what ends its views. */
#define NEWVIEWS(i)
#elif defined(FREE)
/* As much as a complete search without the order can hold. */
#define NEWVIEWS(i) VIEW4(i)
#else
#define NEWVIEWS(i) VIEW4(i) VIEW5(i)
#endif
#ifdef SMALL
#define OLDVIEWS(i) VIEW1(i) VIEW2(i)
#else
#define OLDVIEWS(i) VIEW1(i) VIEW2(i) VIEW3(i)
#endif

#ifdef LIVE
/* Honest votes alone can end a view: a certificate is there (whoever voted finalize has it), or all honest can still nullify. */
#define CANLEAVE(v) ((v)==1 -> (CN(0) || CN(1) || (fin[0]|fin[1])==0) : \
  ((v)==2 -> (CN(2) || CN(3) || CN(4) || (fin[2]|fin[3]|fin[4])==0) : \
  ((v)==3 -> (CN(5) || CN(6) || CN(7) || (fin[5]|fin[6]|fin[7])==0) : \
  ((v)==4 -> (CN(8) || CN(9) || (fin[8]|fin[9])==0) : (CN(10) || CN(11) || (fin[10]|fin[11])==0)))))
#define HN(b) heldN[b]
#define HK(v) heldK[v]
/* The worst case of delivery: of each view that was left, honest nodes hold one certificate, which one is the adversary's choice.
 * Where none could be formed, CANLEAVE says that all honest nullify, which makes one. An honest leader of the next view must find
 * something that can be notarized; nobody has voted in that view yet, so three honest votes each then notarize and finalize it. */
inline checkProposable2() {
  if
  :: CN(0) -> heldN[0] = 1
  :: CN(1) -> heldN[1] = 1
  :: CK(1) -> heldK[1] = 1
  :: !CN(0) && !CN(1) && !CK(1) -> heldK[1] = 1
  fi;
  assert(FRESH2(0,HN,HK) || FRESH2(2,HN,HK) || E1IN2(HN,HK))
}
inline checkProposable3() {
  if
  :: CN(2) -> heldN[2] = 1
  :: CN(3) -> heldN[3] = 1
  :: CN(4) -> heldN[4] = 1
  :: CK(2) -> heldK[2] = 1
  :: !CN(2) && !CN(3) && !CN(4) && !CK(2) -> heldK[2] = 1
  fi;
  assert(FRESH3(0,HN,HK) || FRESH3(2,HN,HK) || FRESH3(4,HN,HK) || E1IN3(HN,HK) || E2IN3(HN,HK));
  heldN[0] = 0; heldN[1] = 0; heldN[2] = 0; heldN[3] = 0; heldN[4] = 0; heldK[1] = 0; heldK[2] = 0
}
#endif

/* A view that is done: of its votes only the certificates are kept. */
inline keepCertificates() {
  k = 0;
  do
  :: k < BALLOTS ->
     nota[k] = (CN(k) -> EVERYONE : 0);
#ifndef MERGE
     fin[k] = (CF(k) -> EVERYONE : 0);
#endif
     k++
  :: else -> break
  od;
#ifndef NOEPOCH  /* there, old votes can become part of a certificate later, and so they can under MERGE */
  k = 1;
  do
  :: k < 6 -> nul[k] = (CK(k) -> EVERYONE : 0); k++
  :: else -> break
  od;
#endif
  k = 0
}

active proctype system() {
  atomic {
    if :: par[3] = 0 :: par[3] = 2 fi;
    if
    :: par[4] = 0
    :: par[4] = 2
#ifdef CHILD
    :: par[4] = 1
#endif
    fi;
    if
    :: par[5] = 0
#ifndef SMALL
    :: par[5] = 2
    :: par[5] = 4
#ifdef CHILD
    :: par[5] = 1
    :: par[5] = 3
#endif
#endif
    fi;
    if :: start = 1 :: start = 3 fi;
    par[6] = start;
    par[7] = start;
    /* Up to exchanging 6 with 7, and 8 with 9, these are all. */
    if
#if !defined(FREE)
    :: par[8] = start; par[9] = start
    :: par[8] = 6; par[9] = 6
    :: par[8] = 6; par[9] = 7
#endif
    :: par[8] = start; par[9] = 6
    fi
  }
  do
  OLDVIEWS(0) NEWVIEWS(0)
  OLDVIEWS(1) NEWVIEWS(1)
#if NB < 2
  OLDVIEWS(2)
  NEWVIEWS(4)
#endif
#if NB == 0
  OLDVIEWS(3)
#endif
#if REMOVED > 0
  :: d_step { !turned && STARTFINAL -> turned = 1; checkFork() }
#endif
#ifdef FREE
  :: else -> break
#else
  :: atomic {
       view < 5 ->
#ifdef LIVE
       assert(CANLEAVE(view));
       if
       :: view == 1 -> checkProposable2()
#ifndef SMALL
       :: view == 2 -> checkProposable3()
#endif
       :: else
       fi;
#endif
       d_step {
         keepCertificates();
#ifdef SMALL
         if :: view == 2 -> view++ :: else fi;
#endif
         view++
       }
     }
  :: view == 5 -> break
#endif
  od
#ifdef LIVE
  assert(CANLEAVE(5))
#endif
}
