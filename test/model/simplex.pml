/* This project's own copy of shared/models/simplex.pml, the model that its design was checked with. Added: this paragraph, and SHORT.
 * -DSHORT   : views 1 and 2 only, for each commit; safe, and each mutant is caught in it as well
 *
 * Safety model of the chosen Simplex variant. n=4, q=3, honest nodes 0..H-1, NB byzantine
 * nodes whose votes are assumed present for EVERYTHING (worst case).
 * Asynchrony: an honest node may use any certificate that *could* be formed, at any time or never.
 * Block id = 1 + 2*(v-1) + x  (v=1..3, x=0,1; view 3 has x=0 only). 0 = genesis.
 * -DNOGAP   : drop "nullification for every skipped view" rule  -> must violate
 * -DNOEXCL  : allow finalize after nullify                       -> must violate
 * -DAMNESIA : votes kept in RAM only, a crash forgets them       -> must violate
 * -DNB=2    : 2 byzantine of 4                                   -> must violate
 */
#ifndef NB
#define NB 1
#endif
#define Q 3
#define H (4-NB)
byte nota[6];      /* bitmask of honest notarize voters per block id-1 */
byte fin[6];
byte nul[4];       /* per view 1..3 */
byte par[6];       /* parent block id */
#ifdef AMNESIA
byte mnota[6]; byte mfin[6]; byte mnul[4]; byte crashes=0;
#define MN(b) mnota[b]
#define MF(b) mfin[b]
#define MK(v) mnul[v]
#else
#define MN(b) nota[b]
#define MF(b) fin[b]
#define MK(v) nul[v]
#endif
#define BIT(m,i) (((m)>>(i))&1)
#define CNT(m) (BIT(m,0)+BIT(m,1)+BIT(m,2)+NB)
#define CN(b) (CNT(nota[b])>=Q)
#define CF(b) (CNT(fin[b])>=Q)
#define CK(v) (CNT(nul[v])>=Q)
#define VW(id) ((id)==0 -> 0 : (((id)-1)/2)+1)
/* all views strictly between parent view and v nullified */
#ifdef NOGAP
#define GAP(v,p) (1)
#else
#define GAP(v,p) ( ((v)!=2 || (p)>0 || CK(1)) && ((v)!=3 || ((p)>2) || (CK(2) && ((p)>0 || CK(1)))) )
#endif
#define PARN(b) (par[b]==0 -> 1 : CN(par[b]-1))
#define ANC1(a,b) (par[b]==(a)+1)
#define ANC2(a,b) (par[b]>0 && par[par[b]-1]==(a)+1)
#define ANC(a,b) ((a)==(b) || ANC1(a,b) || ANC2(a,b))
#define OK2(a,b) (!(CF(a)&&CF(b)) || ANC(a,b) || ANC(b,a))
inline tryN(i,b){ d_step{ (!BIT(MN((b)^1),i) && !BIT(MN(b),i) && PARN(b) && GAP(((b)/2)+1,par[b])) -> nota[b]=nota[b]|(1<<i); 
#ifdef AMNESIA
 mnota[b]=mnota[b]|(1<<i);
#endif
 } }
inline tryK(i,v){ d_step{ (!BIT(MK(v),i) && !BIT(MF(2*(v)-2),i) && !BIT(MF(2*(v)-1),i)) -> nul[v]=nul[v]|(1<<i);
#ifdef AMNESIA
 mnul[v]=mnul[v]|(1<<i);
#endif
 } }
#ifdef NOEXCL
#define EXCL(v,i) 1
#else
#define EXCL(v,i) (!BIT(MK(v),i))
#endif
inline tryF(i,b){ d_step{ (!BIT(MF(b),i) && CN(b) && BIT(MN(b),i) && EXCL(((b)/2)+1,i)) -> fin[b]=fin[b]|(1<<i);
#ifdef AMNESIA
 mfin[b]=mfin[b]|(1<<i);
#endif
 assert(OK2(b,0)&&OK2(b,1)&&OK2(b,2)&&OK2(b,3)&&OK2(b,4)); } }
#ifdef SHORT
#define ALLB(i) :: tryN(i,0) :: tryN(i,1) :: tryN(i,2) :: tryN(i,3) :: tryK(i,1) :: tryK(i,2) \
 :: tryF(i,0) :: tryF(i,1) :: tryF(i,2) :: tryF(i,3)
#else
#define ALLB(i) :: tryN(i,0) :: tryN(i,1) :: tryN(i,2) :: tryN(i,3) :: tryN(i,4) \
 :: tryK(i,1) :: tryK(i,2) :: tryK(i,3) \
 :: tryF(i,0) :: tryF(i,1) :: tryF(i,2) :: tryF(i,3) :: tryF(i,4)
#endif
active proctype sys(){
  atomic{
   if :: par[2]=0 :: par[2]=1 :: par[2]=2 fi;
   if :: par[3]=0 :: par[3]=1 :: par[3]=2 fi;
#ifndef SHORT
   if :: par[4]=0 :: par[4]=1 :: par[4]=2 :: par[4]=3 :: par[4]=4 fi
#else
   skip
#endif
  }
  do
  ALLB(0)
#if NB<3
  ALLB(1)
#endif
#if NB<2
  ALLB(2)
#endif
#ifdef AMNESIA
  :: d_step{ crashes<1 -> crashes++; mnota[0]=mnota[0]&6; mnota[1]=mnota[1]&6; mnota[2]=mnota[2]&6; mnota[3]=mnota[3]&6; mnota[4]=mnota[4]&6;
     mfin[0]=mfin[0]&6; mfin[1]=mfin[1]&6; mfin[2]=mfin[2]&6; mfin[3]=mfin[3]&6; mfin[4]=mfin[4]&6; mnul[1]=mnul[1]&6; mnul[2]=mnul[2]&6; mnul[3]=mnul[3]&6 }
#endif
  :: else -> break
  od
}
